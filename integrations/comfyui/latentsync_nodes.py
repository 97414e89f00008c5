"""ComfyUI nodes that lip-sync a video to speech: clients of `python -m latentsync.server`.

Copy or link this file into ComfyUI's folder `custom_nodes`. It needs nothing beyond what ComfyUI itself installs.
"""

import http.client
import io
import json
import os
import tempfile
import time
import urllib.error
import urllib.request
import uuid
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
import comfy.model_management
import comfy.utils
import folder_paths
import numpy as np
import torch

DEFAULT_SERVER = "http://127.0.0.1:8600"
KEY_VARIABLE = "LATENTSYNC_API_KEY"
LOOP_MODES = ("bounce", "loop", "cut", "freeze", "silence")
SILENCE = ("off", "keep", "close")

POLL_SECONDS = 0.5
REQUEST_TIMEOUT_S = 60.0
MAX_OUTAGE_S = 60.0
"""Time without an answer after which a job is given up; a restarted server continues its jobs."""

_CHUNK_BYTES = 1 << 20
_STARTING = (502, 503, 504)
"""Answers of a server, or of a proxy before it, that is being started again."""
_PROGRESS_STEPS = 1000
_UPLOAD_OPTIONS = {"crf": "8", "preset": "veryfast"}
"""Of H.264 in RGB: no conversion of colours, visually lossless."""


class LatentSyncError(RuntimeError):
    """The service cannot be reached, refused the inputs, or failed. The message is one line, which ComfyUI shows."""


class Service:
    """Client of one server.

    Args:
        server: address, such as http://127.0.0.1:8600.
        key: API key; empty takes the environment variable `KEY_VARIABLE`.

    Raises:
        LatentSyncError: the address is not one.
    """

    def __init__(self, server: str, key: str = "") -> None:
        self._server = server.strip().rstrip("/")
        if not self._server.startswith(("http://", "https://")):
            raise LatentSyncError(f"server is {server!r}: give an address such as {DEFAULT_SERVER}")
        key = key.strip() or os.environ.get(KEY_VARIABLE, "")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def lipsync(self, video: Path, speech: bytes, options: dict[str, Any], result: Path) -> None:
        """Generate a video; show the progress, and cancel the job if ComfyUI is interrupted.

        Args:
            video: source video.
            speech: driving audio, a WAV file.
            options: fields of the request.
            result: file to write (.mp4).

        Raises:
            LatentSyncError: see the class.
            comfy.model_management.InterruptProcessingException: the user cancelled.
        """
        job = self._submit(video, speech, options)
        try:
            self._wait(job)
        except BaseException:
            self._cancel(job)
            raise
        self._fetch(job, result)

    def _submit(self, video: Path, speech: bytes, options: dict[str, Any]) -> str:
        """Upload the inputs and return the id of the new job."""
        boundary = uuid.uuid4().hex
        with video.open("rb") as file:
            parts = [
                *((_part_header(boundary, name), io.BytesIO(str(value).encode())) for name, value in options.items()),
                (_part_header(boundary, "audio", "speech.wav"), io.BytesIO(speech)),
                (_part_header(boundary, "video", f"video{video.suffix}"), file),
            ]
            end = f"\r\n--{boundary}--\r\n".encode()
            size = sum(len(header) + _size_of(content) for header, content in parts) + len(end)
            headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Content-Length": str(size)}
            return self._ask("POST", "/v1/jobs", _body(parts, end), headers)["id"]

    def _wait(self, job: str) -> None:
        """Wait until a job is done."""
        bar = comfy.utils.ProgressBar(_PROGRESS_STEPS)
        answered = time.monotonic()
        while True:
            comfy.model_management.throw_exception_if_processing_interrupted()
            try:
                status = self._ask("GET", f"/v1/jobs/{job}")
            except _Unreachable:
                if time.monotonic() - answered > MAX_OUTAGE_S:
                    raise
                time.sleep(POLL_SECONDS)
                continue
            answered = time.monotonic()
            bar.update_absolute(round(_PROGRESS_STEPS * (status.get("progress") or 0)))
            if status["state"] == "done":
                return
            if status["state"] in ("failed", "cancelled"):
                raise LatentSyncError(f"LatentSync: {status.get('error') or 'the job was ' + status['state']}")
            time.sleep(POLL_SECONDS)

    def _cancel(self, job: str) -> None:
        try:
            self._ask("DELETE", f"/v1/jobs/{job}")
        except LatentSyncError:  # the reason for cancelling is raised
            return

    def _fetch(self, job: str, result: Path) -> None:
        """Download a result; the file appears complete or not at all."""
        beside = result.with_name(f".latentsync-{uuid.uuid4().hex}.mp4")
        try:
            with beside.open("xb") as file, self._open("GET", f"/v1/jobs/{job}/result") as answer:
                while chunk := self._read(answer):
                    comfy.model_management.throw_exception_if_processing_interrupted()
                    file.write(chunk)
                if file.tell() != int(answer.headers["Content-Length"]):
                    raise LatentSyncError(f"the download of the result from {self._server} ended early: run it again")
            beside.replace(result)
        finally:
            beside.unlink(missing_ok=True)

    def _ask(
        self, method: str, path: str, body: Iterator[bytes] | None = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Send a request and return the JSON of its answer."""
        with self._open(method, path, body, headers) as answer, self._naming_errors():
            text = answer.read()
        try:
            return dict(json.loads(text))
        except (TypeError, ValueError):
            raise LatentSyncError(f"{self._server} is not the address of a LatentSync server") from None

    def _open(
        self, method: str, path: str, body: Iterator[bytes] | None = None, headers: dict[str, str] | None = None
    ) -> Any:
        """Send a request and return its answer, open for reading."""
        request = urllib.request.Request(
            self._server + path, data=body, headers={**self._headers, **(headers or {})}, method=method
        )
        with self._naming_errors(is_upload=body is not None):
            return urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S)

    def _read(self, answer: Any) -> bytes:
        with self._naming_errors():
            return answer.read(_CHUNK_BYTES)

    @contextmanager
    def _naming_errors(self, is_upload: bool = False) -> Iterator[None]:
        """Turn errors of the connection and of the server into a `LatentSyncError`."""
        try:
            yield
        except urllib.error.HTTPError as error:
            with error:
                kind = _Unreachable if error.code in _STARTING else LatentSyncError
                raise kind(f"LatentSync refused the request ({error.code}): {_reason(error)}") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            if is_upload and isinstance(reason, BrokenPipeError | ConnectionResetError):
                raise LatentSyncError(
                    f"the server at {self._server} ended the upload: is the API key right, is the video too large?"
                ) from None
            raise _Unreachable(
                f"no LatentSync server answers at {self._server} ({reason}): start python -m latentsync.server"
            ) from None


class _Unreachable(LatentSyncError):
    """There is no answer, which may change."""


def _reason(error: urllib.error.HTTPError) -> str:
    """Return the line of an error that the server sent."""
    try:
        return str(json.loads(error.read(_CHUNK_BYTES))["error"])
    except (ValueError, KeyError, TypeError):
        return str(error.reason)


def _part_header(boundary: str, name: str, filename: str | None = None) -> bytes:
    """Return what precedes the content of a field of a form."""
    disposition = f'form-data; name="{name}"' + ("" if filename is None else f'; filename="{filename}"')
    return f"\r\n--{boundary}\r\nContent-Disposition: {disposition}\r\n\r\n".encode()


def _size_of(content: BinaryIO) -> int:
    size = content.seek(0, io.SEEK_END)
    content.seek(0)
    return size


def _body(parts: list[tuple[bytes, BinaryIO]], end: bytes) -> Iterator[bytes]:
    """Yield a form in chunks, so that large files are not held in memory and an upload can be interrupted."""
    for header, content in parts:
        yield header
        for chunk in iter(lambda content=content: content.read(_CHUNK_BYTES), b""):
            comfy.model_management.throw_exception_if_processing_interrupted()
            yield chunk
    yield end


def _encode_images(images: torch.Tensor, fps: float, path: Path) -> None:
    """Write an IMAGE batch (b, h, w, 3), floats in [0, 1], to a video."""
    height, width = images.shape[1:3]
    with av.open(str(path), "w") as container:
        rate = Fraction(fps).limit_denominator(1001)
        stream = container.add_stream("libx264rgb", rate=rate, options=_UPLOAD_OPTIONS)
        stream.width, stream.height, stream.pix_fmt = width, height, "rgb24"
        for image in images:
            pixels = (image[..., :3].clamp(0, 1) * 255).round().to("cpu", torch.uint8).numpy()
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        container.mux(stream.encode())


def _decode_images(path: Path) -> tuple[torch.Tensor, float]:
    """Return the frames of a result as an IMAGE batch (b, h, w, 3), and the frames per second."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        fps = float(stream.average_rate)
        frames = [
            frame.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray() for frame in container.decode(stream)
        ]
    images = torch.empty((len(frames), *frames[0].shape))
    for index, frame in enumerate(frames):
        images[index] = torch.from_numpy(frame)
    return images.div_(255), fps


def _encode_speech(audio: dict[str, Any]) -> bytes:
    """Return the first AUDIO of a batch as a WAV file of 16-bit samples."""
    waveform = audio["waveform"][0].detach().float().cpu().clamp(-1, 1)
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(waveform.shape[0])
        writer.setsampwidth(2)
        writer.setframerate(int(audio["sample_rate"]))
        writer.writeframes((waveform.T * 32767).round().numpy().astype("<i2").tobytes())
    return file.getvalue()


def _fitted(audio: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Return the first AUDIO of a batch, cut or followed by silence to a length."""
    num_samples = round(seconds * audio["sample_rate"])
    waveform = audio["waveform"][:1, :, :num_samples]
    missing = num_samples - waveform.shape[-1]
    return {"waveform": torch.nn.functional.pad(waveform, (0, missing)), "sample_rate": audio["sample_rate"]}


def _option_inputs() -> dict[str, Any]:
    """Return the inputs that both nodes have."""
    return {
        "audio": ("AUDIO", {"tooltip": "the speech that the lips follow"}),
        "server": ("STRING", {"default": DEFAULT_SERVER, "tooltip": "address of python -m latentsync.server"}),
        "guidance_scale": ("FLOAT", {"default": 1.5, "min": 1.0, "max": 20.0, "step": 0.1}),
        "seed": ("INT", {"default": 1247, "min": 0, "max": 2**63 - 1}),
        "loop_mode": (list(LOOP_MODES), {"tooltip": "what follows the end of a video that is shorter than the speech"}),
    }


def _more_inputs() -> dict[str, Any]:
    """Return the inputs that a workflow may omit."""
    return {
        "num_inference_steps": ("INT", {"default": 0, "min": 0, "max": 1000, "tooltip": "0: the server's default"}),
        "face": ("STRING", {"default": "largest", "tooltip": "largest, left, right, an index or x,y"}),
        "silence": (list(SILENCE), {"tooltip": "what music and noise do to the mouth"}),
        "api_key": ("STRING", {"default": "", "tooltip": f"is saved in the workflow; rather set {KEY_VARIABLE}"}),
    }


def _fields(
    guidance_scale: float, seed: int, loop_mode: str, num_inference_steps: int, face: str, silence: str
) -> dict[str, Any]:
    """Return the fields of a request."""
    fields = {
        "guidance_scale": guidance_scale,
        "seed": seed,
        "loop_mode": loop_mode,
        "face": face,
        "silence": silence,
        "num_inference_steps": num_inference_steps,
    }
    if num_inference_steps == 0:
        del fields["num_inference_steps"]
    return fields


class LatentSyncImages:
    """Images and speech in, images with matching lips and the speech out."""

    CATEGORY = "video/LatentSync"
    FUNCTION = "lipsync"
    RETURN_TYPES = ("IMAGE", "AUDIO", "FLOAT")
    RETURN_NAMES = ("images", "audio", "fps")
    DESCRIPTION = "Makes the lips of a person follow the speech. The images are the frames of a video."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802  (ComfyUI's name)
        """Return the inputs of the node."""
        frames = {"images": ("IMAGE",), "fps": ("FLOAT", {"default": 25.0, "min": 1.0, "max": 240.0, "step": 0.01})}
        return {"required": {**frames, **_option_inputs()}, "optional": _more_inputs()}

    def lipsync(
        self,
        images: torch.Tensor,
        fps: float,
        audio: dict[str, Any],
        server: str,
        guidance_scale: float,
        seed: int,
        loop_mode: str,
        num_inference_steps: int = 0,
        face: str = "largest",
        silence: str = "off",
        api_key: str = "",
    ) -> tuple[torch.Tensor, dict[str, Any], float]:
        """Return the generated images, the speech cut to their length, and their rate."""
        service = Service(server, api_key)
        options = _fields(guidance_scale, seed, loop_mode, num_inference_steps, face, silence)
        parent = folder_paths.get_temp_directory()
        os.makedirs(parent, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent, prefix="latentsync-") as folder:
            video, result = Path(folder) / "images.mp4", Path(folder) / "result.mp4"
            _encode_images(images, fps, video)
            service.lipsync(video, _encode_speech(audio), options, result)
            generated, result_fps = _decode_images(result)
        generated = generated[:, : images.shape[1], : images.shape[2]]  # the encoder adds a pixel to an odd side
        return generated, _fitted(audio, len(generated) / result_fps), result_fps


class LatentSyncVideo:
    """The path of a video and speech in, the path of the generated video in ComfyUI's output folder out."""

    CATEGORY = "video/LatentSync"
    FUNCTION = "lipsync"
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("video_path",)
    OUTPUT_NODE = True
    DESCRIPTION = "Makes the lips of a person in a video file follow the speech, for videos of any length."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802  (ComfyUI's name)
        """Return the inputs of the node."""
        files = {
            "video_path": ("STRING", {"default": "", "tooltip": "a path; a relative one starts at ComfyUI's input"}),
            "filename_prefix": ("STRING", {"default": "latentsync"}),
        }
        return {"required": {**files, **_option_inputs()}, "optional": _more_inputs()}

    def lipsync(
        self,
        video_path: str,
        filename_prefix: str,
        audio: dict[str, Any],
        server: str,
        guidance_scale: float,
        seed: int,
        loop_mode: str,
        num_inference_steps: int = 0,
        face: str = "largest",
        silence: str = "off",
        api_key: str = "",
    ) -> dict[str, Any]:
        """Return the path of the generated video, also as text to show."""
        service = Service(server, api_key)
        video = Path(folder_paths.get_input_directory()) / video_path
        if not video.is_file():
            raise LatentSyncError(f"video_path {video_path!r} is not a file: give the path of a video")
        options = _fields(guidance_scale, seed, loop_mode, num_inference_steps, face, silence)
        folder, name, counter, _, _ = folder_paths.get_save_image_path(
            filename_prefix, folder_paths.get_output_directory()
        )
        result = Path(folder) / f"{name}_{counter:05}_.mp4"
        service.lipsync(video, _encode_speech(audio), options, result)
        return {"ui": {"text": [str(result)]}, "result": (str(result),)}


NODE_CLASS_MAPPINGS = {"LatentSyncImages": LatentSyncImages, "LatentSyncVideo": LatentSyncVideo}
NODE_DISPLAY_NAME_MAPPINGS = {"LatentSyncImages": "LatentSync (images)", "LatentSyncVideo": "LatentSync (video file)"}
