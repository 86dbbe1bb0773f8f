"""CutMix against a loop over pixels."""

import torch

from refluence.matching.mixing import cutmix


def test_each_pixel_is_its_own_or_the_partner_s_and_the_share_counts_them():
    x = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 2, 7, 9).contiguous()
    shares = set()
    for seed in range(30):
        mixed, order, share = cutmix(x, torch.Generator().manual_seed(seed))
        assert sorted(order.tolist()) == list(range(6))
        boxes = []
        for i in range(6):
            taken = [(r, c) for r in range(7) for c in range(9) if mixed[i, 0, r, c] != i]
            assert all(float(mixed[i, 1, r, c]) == float(order[i]) for r, c in taken)
            if int(order[i]) != i:
                boxes.append(taken)
        assert all(box == boxes[0] for box in boxes), "one box for the whole batch"
        assert share == 1 - len(boxes[0]) / 63
        if boxes[0]:
            rows, columns = zip(*boxes[0], strict=True)
            assert len(boxes[0]) == (max(rows) - min(rows) + 1) * (max(columns) - min(columns) + 1)
        shares.add(round(share, 2))
    assert len(shares) > 10
    assert float(x[3].mean()) == 3, "the input is left as it was"
