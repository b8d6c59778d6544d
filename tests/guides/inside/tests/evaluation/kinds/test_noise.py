import torch

from robustbench_ens.perturb.starts import uniform_starts
from tests.evaluation.runs import check_a_beaten_image_rests, outcomes

PROTOCOL = "digits/noise[images=20,eps=[0.2],draws=3]"


def test_the_rows_are_those_of_the_plainest_code(make_job):
    job = make_job(PROTOCOL)
    rows = outcomes(job)
    check_a_beaten_image_rests(rows, 3)
    survived = rows[rows["correct"].notna()].groupby("image")["correct"].all()
    for index, image, label in zip(job.indices.tolist(), job.images, job.labels, strict=True):
        right = []
        for draw in range(3):
            noise = uniform_starts(image.shape, [index], "noise", 0, draw).to(image)[0]
            noisy = (image + 0.2 * noise).clamp(0, 1)[None]
            with torch.no_grad():
                right.append(job.target.ensemble(noisy).argmax().item() == label.item())
        assert survived[index] == all(right)
