"""How good generated images are: arrays in, numbers out.

::

    images -> judge.py       a small classifier trained on real data: logits and features
           -> conditional.py do the samples show their class, and can one learn from them?
           -> features.py    networks to compare pictures in: the judge, and two of ImageNet's
                             (efficientnet.py, inception.py)
    features -> frechet.py   how far apart are two sets, as Gaussians?
             -> kernel.py    the same without that, and fit for few samples
             -> coverage.py  precision and recall, density and coverage: fidelity and variety apart
             -> diversity.py how far apart are the pictures of one set?
    points -> bins.py        NDB and JSD: how evenly are the bins of the real data filled?
    images, maps -> fcn.py      an FCN-8s trained on real pairs: the class of each pixel
                 -> segmentation.py  the FCN-score: pixel and class accuracy, class IoU
    points, labels -> modes.py       how many modes of a known distribution, and how evenly
    pictures       -> principal.py       what principal components hold of them
    pictures       -> reconstruction.py  how near to what they were made from
    densities      -> divergence.py  by quadrature, and out of a discriminator's loss

``judge.py``, ``conditional.py``, ``features.py``, ``fcn.py`` and ``modes.py`` need torch; what they
train is kept by ``weights.py``. No number here means anything alone: each depends on the features
and the number of samples, so a report prints both, and beside each figure the same for real images
against real images.
"""
