"""The queue of jobs that the app and the service share: jobs on disk, their folders, limits and messages."""
