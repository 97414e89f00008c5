import torch

from latentsync.torchvision_ops import non_maximum_suppression


def naive(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> list[int]:
    def area(box: torch.Tensor) -> float:
        return float((box[2] - box[0]) * (box[3] - box[1]))

    kept: list[int] = []
    for i in sorted(range(len(scores)), key=lambda i: -float(scores[i])):
        clear = True
        for j in kept:
            width = float(min(boxes[i][2], boxes[j][2]) - max(boxes[i][0], boxes[j][0]))
            height = float(min(boxes[i][3], boxes[j][3]) - max(boxes[i][1], boxes[j][1]))
            shared = max(width, 0) * max(height, 0)
            clear &= shared / (area(boxes[i]) + area(boxes[j]) - shared) <= threshold
        if clear:
            kept.append(i)
    return kept


def test_agrees_with_a_plain_loop():
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(60, 2, generator=generator) * 50
    boxes = torch.cat((corners, corners + 5 + torch.rand(60, 2, generator=generator) * 20), dim=1)
    scores = torch.rand(60, generator=generator)
    for threshold in (0.1, 0.5, 0.7):
        assert non_maximum_suppression(boxes, scores, threshold).tolist() == naive(boxes, scores, threshold)


def test_torchvision_imports_and_its_batched_version_works():
    from torchvision.ops import batched_nms

    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10], [50, 50, 60, 60]])
    kept = batched_nms(boxes, torch.tensor([0.5, 0.9, 0.1]), torch.zeros(3, dtype=torch.long), 0.5)
    assert kept.tolist() == [1, 2]


def test_no_boxes_are_no_trouble():
    assert non_maximum_suppression(torch.zeros(0, 4), torch.zeros(0), 0.5).numel() == 0
