"""Semi-supervised KD-AIF (arXiv 2501.02705; the paper names the benchmarks alone, so this definition is ours): labels of a few
training instances (x_l, y) are known, of the others u none. Teacher T and student S learn side by side, both from nothing,

min_T  CE(T(x_l), y) + lambda_u r(t) H(p_u, T(strong u)) + sum_u w_u CE(T(strong u), y_u)
min_S  sum_u w_u CE(S(strong u), y_u),        then S learns from (x_l, y) alone for some steps

p_u = softmax(T(weak u) / T_0) is the teacher's soft pseudo-label and y_u its class; where max p_u is below `threshold`, u does
not count in the step. H is cross-entropy: UDA's consistency (arXiv 1904.12848), with r rising from 0 to 1; the last term is
FixMatch's (arXiv 2001.07685). Weak views are small shifts (and mirroring), strong ones RandAugment. w_u = 1 for `semi`; for
`semi+influence`

w_u = 2 / (1 + exp(phi_u)),     phi_u = -< H^-1 grad CE(S(x_l), y), grad CE(S(strong u), y_u) >

by the labelled batch of the step: before it is tuned, the student has learned from no label, so that to it these are validation
instances, and weights see no label that training does not see. Meta Pseudo Labels (arXiv 2003.10580) weighs the last term of
the teacher by one number a batch, of the same kind with H = I.
"""

from __future__ import annotations

from refluence.transfer.mechanism import Mechanism

METHOD = Mechanism(
    "semi",
    "labels of a few instances, pseudo-labels of a teacher that learns beside the student for the others",
    "arXiv 2501.02705",
    teacher="none",
    schedule="semi",
)
