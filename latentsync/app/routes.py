"""Which of gradio's routes are served: those that our page and `gradio_client` use; all others are refused.

Routes are written as gradio writes them, so that its list can be held against ours: a test fails when a release of
gradio has a route that stands in neither table.
"""

from dataclasses import dataclass

_GET, _READ, _POST = frozenset({"GET"}), frozenset({"GET", "HEAD"}), frozenset({"POST"})


@dataclass(frozen=True)
class Route:
    """A served route.

    Attributes:
        path: as gradio writes it, parts that vary in braces.
        methods: all others are refused.
        is_open: whether it answers without login where one is asked for.
    """

    path: str
    methods: frozenset[str]
    is_open: bool = False


FILE_ROUTE = "/gradio_api/file={path_or_url:path}"

SERVED = (
    # The login form, its scripts and styles (files of gradio's package), and what ends in a session.
    Route("/", _READ, is_open=True),
    Route("/login", _POST, is_open=True),
    Route("/login/", _POST, is_open=True),
    Route("/assets/{path:path}", _READ, is_open=True),
    Route("/static/{path:path}", _READ, is_open=True),
    Route("/theme.css", _READ, is_open=True),
    Route("/gradio_api/theme.css", _READ, is_open=True),
    Route("/favicon.ico", _READ, is_open=True),
    Route("/manifest.json", _READ, is_open=True),
    Route("/robots.txt", _READ, is_open=True),
    # gradio asks itself for this while it starts; it answers true or false.
    Route("/gradio_api/startup-events", _GET, is_open=True),
    # The page and the client of the API.
    Route("/logout", _GET),
    Route("/config", _GET),
    Route("/config/", _GET),
    Route("/gradio_api/info", _GET),
    Route("/gradio_api/info/", _GET),
    Route("/gradio_api/app_id", _GET),
    Route("/gradio_api/app_id/", _GET),
    Route("/gradio_api/user", _GET),
    Route("/gradio_api/user/", _GET),
    Route("/gradio_api/login_check", _GET),
    Route("/gradio_api/login_check/", _GET),
    Route("/gradio_api/upload", _POST),
    Route("/gradio_api/upload_progress", _GET),
    Route(FILE_ROUTE, _READ),
    Route("/gradio_api/queue/join", _POST),
    Route("/gradio_api/queue/data", _GET),
    Route("/gradio_api/queue/status", _GET),
    Route("/gradio_api/run/{api_name}", _POST),
    Route("/gradio_api/run/{api_name}/", _POST),
    Route("/gradio_api/api/{api_name}", _POST),
    Route("/gradio_api/api/{api_name}/", _POST),
    Route("/gradio_api/call/{api_name}", _POST),
    Route("/gradio_api/call/{api_name}/", _POST),
    Route("/gradio_api/call/{api_name}/{event_id}", _GET),
    Route("/gradio_api/call/v2/{api_name}", _POST),
    Route("/gradio_api/call/v2/{api_name}/", _POST),
    Route("/gradio_api/call/v2/{api_name}/{event_id}", _GET),
    Route("/gradio_api/cancel", _POST),
    Route("/gradio_api/reset", _POST),
    Route("/gradio_api/reset/", _POST),
    Route("/gradio_api/heartbeat/{session_hash}", _GET),
)

REFUSED = frozenset(
    {
        # Other names for files, files and addresses of others, files that gradio would write.
        "/gradio_api/file/{path:path}",
        "/gradio_api/proxy={url_path:path}",
        "/gradio_api/deep_link",
        "/gradio_api/process_recording",
        "/gradio_api/custom_component/{id}/{environment}/{type}/{file_name}",
        "/gradio_api/component_server",
        "/gradio_api/component_server/",
        # Streams, of which our page has none.
        "/gradio_api/stream/{event_id}",
        "/gradio_api/stream/{event_id}/close",
        "/gradio_api/stream/{session_hash}/{run}/{component_id}/playlist.m3u8",
        "/gradio_api/stream/{session_hash}/{run}/{component_id}/{segment_id}.{ext}",
        "/gradio_api/stream/{session_hash}/{run}/{component_id}/playlist-file",
        # Records of what others did.
        "/gradio_api/runs",
        "/gradio_api/runs/",
        "/gradio_api/run-history/connect",
        "/gradio_api/run-history/buckets",
        "/gradio_api/run-history/records",
        "/gradio_api/run-history/records/{endpoint}/{record_id}/assets/{asset_id}",
        "/monitoring",
        "/monitoring/summary",
        "/monitoring/{key}",
        # For developers of gradio apps, and for applications installed from the browser.
        "/gradio_api/token",
        "/gradio_api/token/",
        "/gradio_api/openapi.json",
        "/gradio_api/dev/reload",
        "/gradio_api/vibe-edit",
        "/gradio_api/vibe-edit/",
        "/gradio_api/undo-vibe-edit",
        "/gradio_api/undo-vibe-edit/",
        "/gradio_api/vibe-code",
        "/gradio_api/vibe-code/",
        "/gradio_api/vibe-starter-queries",
        "/gradio_api/vibe-starter-queries/",
        "/svelte/{path:path}",
        "/pwa_icon",
        "/pwa_icon/{size}",
        "/openapi.json",
    }
)
