/* Makes calls that write below one folder fail, for tests of full, broken and read-only disks.

   Preloaded by LD_PRELOAD into the programs under test and all that they start. What shall happen stands in a small
   file that all processes map, named by LATENTSYNC_FAULTS; `injector.py` writes it. Calls are counted in it, in the
   order in which they come from all processes. Calls that only undo (unlink, rmdir) fail only where a disk has become
   read-only, and are not counted.

   Not seen: writes through memory maps, and what the C library writes by itself behind fputs, fprintf and the like. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

struct plan {
    uint64_t count;   /* calls so far */
    uint64_t fail_at; /* the call that fails first, from 1; 0: none */
    uint64_t sticky;  /* whether all later ones fail too */
    uint64_t error;   /* errno */
    uint64_t failed;  /* calls that failed */
    char folder[PATH_MAX];
    char first[PATH_MAX]; /* what the first failing call was */
};

static struct plan *plan;

__attribute__((constructor)) static void map_plan(void)
{
    const char *name = getenv("LATENTSYNC_FAULTS");
    int (*real_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    int file = name ? real_open(name, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *found = mmap(NULL, sizeof(struct plan), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (found != MAP_FAILED)
        plan = found;
}

/* Whether an absolute path is the folder or lies below it. */
static int is_below(const char *path)
{
    size_t length = strlen(plan->folder);
    return length && !strncmp(path, plan->folder, length) && (path[length] == '/' || !path[length]);
}

static int file_is_below(int file)
{
    char link[64], path[PATH_MAX];
    int saved = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = saved;
    if (length <= 0)
        return 0;
    path[length] = 0;
    return is_below(path);
}

static int path_is_below(int folder, const char *path)
{
    char whole[2 * PATH_MAX];
    if (!path)
        return 0;
    if (path[0] == '/')
        return is_below(path);
    int saved = errno;
    if (folder == AT_FDCWD) {
        if (!getcwd(whole, PATH_MAX))
            whole[0] = 0;
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t length = readlink(link, whole, PATH_MAX - 1);
        whole[length > 0 ? length : 0] = 0;
    }
    errno = saved;
    strncat(whole, "/", 2);
    strncat(whole, path, PATH_MAX - 1);
    return is_below(whole);
}

/* Counts a call, and sets errno where it shall fail. */
static int fails(const char *call, const char *path)
{
    uint64_t number = __atomic_add_fetch(&plan->count, 1, __ATOMIC_SEQ_CST);
    if (!plan->fail_at || number < plan->fail_at || (number > plan->fail_at && !plan->sticky))
        return 0;
    if (__atomic_add_fetch(&plan->failed, 1, __ATOMIC_SEQ_CST) == 1)
        snprintf(plan->first, sizeof plan->first, "%s %s", call, path ? path : "");
    errno = (int)plan->error;
    return 1;
}

static int is_read_only(void)
{
    return plan->error == EROFS && plan->fail_at && __atomic_load_n(&plan->count, __ATOMIC_SEQ_CST) >= plan->fail_at;
}

#define FILE_FAILS(call, file) (plan && file_is_below(file) && fails(call, ""))
#define PATH_FAILS(call, folder, path) (plan && path_is_below(folder, path) && fails(call, path))
#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) \
    real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)
#define WRITES(flags) ((flags) & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC))

#define OPEN(name) \
    int name(const char *path, int flags, ...) \
    { \
        REAL(int, #name, const char *, int, ...); \
        va_list list; \
        va_start(list, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0; \
        va_end(list); \
        return WRITES(flags) && PATH_FAILS("open", AT_FDCWD, path) ? -1 : real(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int folder, const char *path, int flags, ...) \
    { \
        REAL(int, #name, int, const char *, int, ...); \
        va_list list; \
        va_start(list, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0; \
        va_end(list); \
        return WRITES(flags) && PATH_FAILS("open", folder, path) ? -1 : real(folder, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)

#define CREAT(name) \
    int name(const char *path, mode_t mode) \
    { \
        REAL(int, #name, const char *, mode_t); \
        return PATH_FAILS("open", AT_FDCWD, path) ? -1 : real(path, mode); \
    }
CREAT(creat)
CREAT(creat64)

#define FOPEN(name) \
    FILE *name(const char *path, const char *mode) \
    { \
        REAL(FILE *, #name, const char *, const char *); \
        return strpbrk(mode, "wa+") && PATH_FAILS("open", AT_FDCWD, path) ? NULL : real(path, mode); \
    }
FOPEN(fopen)
FOPEN(fopen64)

ssize_t write(int file, const void *bytes, size_t count)
{
    REAL(ssize_t, "write", int, const void *, size_t);
    return FILE_FAILS("write", file) ? -1 : real(file, bytes, count);
}

size_t fwrite(const void *bytes, size_t size, size_t count, FILE *stream)
{
    REAL(size_t, "fwrite", const void *, size_t, size_t, FILE *);
    return FILE_FAILS("write", fileno(stream)) ? 0 : real(bytes, size, count, stream);
}

#define PWRITE(name, offset_type) \
    ssize_t name(int file, const void *bytes, size_t count, offset_type offset) \
    { \
        REAL(ssize_t, #name, int, const void *, size_t, offset_type); \
        return FILE_FAILS("write", file) ? -1 : real(file, bytes, count, offset); \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t writev(int file, const struct iovec *parts, int count)
{
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    return FILE_FAILS("write", file) ? -1 : real(file, parts, count);
}

#define SENDFILE(name, offset_type) \
    ssize_t name(int target, int source, offset_type *offset, size_t count) \
    { \
        REAL(ssize_t, #name, int, int, offset_type *, size_t); \
        return FILE_FAILS("write", target) ? -1 : real(target, source, offset, count); \
    }
SENDFILE(sendfile, off_t)
SENDFILE(sendfile64, off64_t)

ssize_t copy_file_range(int source, off64_t *from, int target, off64_t *to, size_t count, unsigned flags)
{
    REAL(ssize_t, "copy_file_range", int, off64_t *, int, off64_t *, size_t, unsigned);
    return FILE_FAILS("write", target) ? -1 : real(source, from, target, to, count, flags);
}

#define SYNC(name) \
    int name(int file) \
    { \
        REAL(int, #name, int); \
        return FILE_FAILS("sync", file) ? -1 : real(file); \
    }
SYNC(fsync)
SYNC(fdatasync)

#define FTRUNCATE(name, offset_type) \
    int name(int file, offset_type length) \
    { \
        REAL(int, #name, int, offset_type); \
        return FILE_FAILS("truncate", file) ? -1 : real(file, length); \
    }
FTRUNCATE(ftruncate, off_t)
FTRUNCATE(ftruncate64, off64_t)

int mkdir(const char *path, mode_t mode)
{
    REAL(int, "mkdir", const char *, mode_t);
    return PATH_FAILS("mkdir", AT_FDCWD, path) ? -1 : real(path, mode);
}

int mkdirat(int folder, const char *path, mode_t mode)
{
    REAL(int, "mkdirat", int, const char *, mode_t);
    return PATH_FAILS("mkdir", folder, path) ? -1 : real(folder, path, mode);
}

int rename(const char *from, const char *to)
{
    REAL(int, "rename", const char *, const char *);
    return PATH_FAILS("rename", AT_FDCWD, to) ? -1 : real(from, to);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
    REAL(int, "renameat", int, const char *, int, const char *);
    return PATH_FAILS("rename", to_folder, to) ? -1 : real(from_folder, from, to_folder, to);
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags)
{
    REAL(int, "renameat2", int, const char *, int, const char *, unsigned);
    return PATH_FAILS("rename", to_folder, to) ? -1 : real(from_folder, from, to_folder, to, flags);
}

int link(const char *from, const char *to)
{
    REAL(int, "link", const char *, const char *);
    return PATH_FAILS("link", AT_FDCWD, to) ? -1 : real(from, to);
}

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags)
{
    REAL(int, "linkat", int, const char *, int, const char *, int);
    return PATH_FAILS("link", to_folder, to) ? -1 : real(from_folder, from, to_folder, to, flags);
}

#define UNDO_FAILS(folder, path) (plan && is_read_only() && path_is_below(folder, path) && (errno = EROFS))

int unlink(const char *path)
{
    REAL(int, "unlink", const char *);
    return UNDO_FAILS(AT_FDCWD, path) ? -1 : real(path);
}

int unlinkat(int folder, const char *path, int flags)
{
    REAL(int, "unlinkat", int, const char *, int);
    return UNDO_FAILS(folder, path) ? -1 : real(folder, path, flags);
}

int rmdir(const char *path)
{
    REAL(int, "rmdir", const char *);
    return UNDO_FAILS(AT_FDCWD, path) ? -1 : real(path);
}
