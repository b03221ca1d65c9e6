"""Statistics of score tables against scipy, hand-computed cases, and their behaviour under no and under a real difference."""

import tracemalloc
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ehanet.metrics.resampling import bootstrap_means, cluster_sums, holm, permutation_pvalues, rank_shares
from ehanet.metrics.statistics import compare, rank_stability

COLUMNS = ["method", "mean", "low", "high", "sd_seeds", "difference", "p_wilcoxon", "p_permutation", "p_holm", "effect",
           "first_share", "n", "left_out", "bold"]  # fmt: skip


def table(values, groups=None, score="dice"):
    images = [f"{place:03}" for place in range(len(values))]
    return pd.DataFrame({"image": images, "group": images if groups is None else groups, score: np.asarray(values, float)})


@pytest.fixture
def frames():
    """60 images of unequal difficulty: the reference, one a little worse, one a lot, one the same but for noise."""
    rng = np.random.default_rng(1)
    base = rng.uniform(0.6, 0.9, 60)
    return {
        "ehanet": table(base),
        "worse": table(base - 0.02 + rng.normal(scale=0.02, size=60)),
        "bad": table(base - 0.3 + rng.normal(scale=0.05, size=60)),
        "noise": table(base + rng.normal(scale=0.02, size=60)),
    }


def test_columns_and_plain_numbers(frames):
    result = compare(frames, resamples=2000)
    assert list(result.columns) == COLUMNS and result.method.tolist() == list(frames)
    for row in result.itertuples():
        values = frames[row.method].dice
        assert row.mean == pytest.approx(values.mean()) and row.low < row.mean < row.high and row.n == 60 and row.left_out == 0
        if row.method != "ehanet":
            difference = values - frames["ehanet"].dice
            assert row.difference == pytest.approx(difference.mean())
            assert row.effect == pytest.approx(difference.mean() / difference.std())
            assert row.p_wilcoxon == pytest.approx(stats.wilcoxon(values, frames["ehanet"].dice).pvalue, rel=1e-6)
    own = result.set_index("method").loc["ehanet"]
    assert own[["difference", "p_wilcoxon", "p_permutation", "p_holm", "effect", "sd_seeds"]].isna().all()
    assert result.first_share.sum() == pytest.approx(1)


def test_interval_is_that_of_scipy(frames):
    values = frames["ehanet"].dice.to_numpy()
    oracle = stats.bootstrap((values,), np.mean, n_resamples=20000, method="percentile", random_state=0).confidence_interval
    row = compare(frames, resamples=20000).iloc[0]
    assert (row.low, row.high) == pytest.approx((oracle.low, oracle.high), abs=6e-4)


def test_permutation_is_that_of_scipy(frames):
    ours = compare(frames, resamples=20000).set_index("method").p_permutation
    for name in ("worse", "noise"):
        difference = (frames[name].dice - frames["ehanet"].dice).to_numpy()
        oracle = stats.permutation_test(
            (difference, np.zeros_like(difference)), lambda a, b, axis: (a - b).mean(axis), permutation_type="samples", vectorized=True,
            n_resamples=20000, rng=np.random.default_rng(0),
        ).pvalue  # fmt: skip
        assert ours[name] == pytest.approx(oracle, abs=0.015)


def test_exact_permutation_by_enumeration():
    """Seven clusters of two images: all 128 sign patterns of whole clusters."""
    rng = np.random.default_rng(0)
    differences = rng.normal(0.3, 1, size=(3, 14))
    differences[2, 4] = np.nan
    clusters = np.repeat(np.arange(7), 2)
    ours = permutation_pvalues(differences, clusters, resamples=1000, seed=0)
    for row, p in zip(differences, ours, strict=True):
        sums = np.array([np.nansum(row[clusters == k]) for k in range(7)])
        statistics = [abs(np.dot(signs, sums)) for signs in product([-1, 1], repeat=7)]
        assert p == pytest.approx(np.mean(np.array(statistics) >= abs(sums.sum()) - 1e-12))


def test_no_difference():
    same = table([0.5, 0.7, 0.9, 0.4])
    result = compare({"ehanet": same, "copy": same.copy()})
    copy = result.iloc[1]
    assert (copy.difference, copy.p_wilcoxon, copy.p_permutation, copy.p_holm, copy.effect) == (0, 1, 1, 1, 0)
    assert result.first_share.tolist() == [0.5, 0.5] and not result.bold.any()


def test_holm_by_hand():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.5, np.nan, 0.6])), [1.0, np.nan, 1.0])
    np.testing.assert_allclose(holm(np.array([0.02, 0.04, np.nan])), [0.04, 0.04, np.nan])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_properties(pvalues):
    """Between p and Bonferroni, in the order of p."""
    p = np.array(pvalues)
    adjusted = holm(p)
    assert np.all(adjusted >= p) and np.all(adjusted <= np.minimum(len(p) * p, 1) + 1e-12)
    order = np.argsort(p, kind="stable")
    assert np.all(np.diff(adjusted[order]) >= 0)


def test_bold_needs_every_comparison(frames):
    """The best of all only by noise is not bold; without the noise twin it is; a distance is best where it is least."""
    assert not compare(frames).bold.any()
    clear = {name: frame for name, frame in frames.items() if name != "noise"}
    result = compare(clear).set_index("method")
    assert result.bold.to_dict() == {"ehanet": True, "worse": False, "bad": False}
    # bold does not depend on which method is the reference
    assert compare(clear, reference="worse").bold.tolist() == result.bold.tolist()
    distances = {name: frame.rename(columns={"dice": "hd95"}) for name, frame in clear.items()}
    assert compare(distances, score="hd95").set_index("method").bold.to_dict() == {"ehanet": False, "worse": False, "bad": True}
    assert compare({"ehanet": frames["ehanet"]}).bold.tolist() == [False]


def test_half_a_point_on_a_hundred_images_is_noise():
    """The level holds: of 200 pairs of equally good methods about one in twenty is called different."""
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        base = rng.uniform(0.5, 0.95, 30)
        pair = {"ehanet": table(base + rng.normal(scale=0.05, size=30)), "other": table(base + rng.normal(scale=0.05, size=30))}
        hits += compare(pair, resamples=400, seed=trial).p_permutation[1] < 0.05
    assert 2 <= hits <= 20


def test_clusters_widen_the_interval_and_weaken_the_test():
    """Ten patients whose slices are copies: 200 images, but only ten independent ones."""
    rng = np.random.default_rng(2)
    base, gain = rng.uniform(0.4, 0.9, 10), rng.normal(-0.03, 0.06, 10)
    groups = np.repeat([f"p{k}" for k in range(10)], 20)
    patients = {"ehanet": table(np.repeat(base, 20), groups), "other": table(np.repeat(base + gain, 20), groups)}
    images = {name: frame.assign(group=frame.image) for name, frame in patients.items()}
    alone = {"ehanet": table(base), "other": table(base + gain)}
    by_patient, by_image, ten = compare(patients), compare(images), compare(alone)
    assert (by_patient.high - by_patient.low).min() > 3 * (by_image.high - by_image.low).max()
    assert by_patient.p_permutation[1] > by_image.p_permutation[1] and by_patient.p_wilcoxon[1] > by_image.p_wilcoxon[1]
    for column in ("mean", "low", "high", "p_wilcoxon", "p_permutation", "effect", "first_share"):
        np.testing.assert_allclose(by_patient[column], ten[column], rtol=1e-9, err_msg=column)


def test_patients_weigh_by_their_slices():
    values = np.array([[1.0, 1.0, 1.0, 0.0]])
    means = bootstrap_means(values, np.array([0, 0, 0, 1]), resamples=4000, seed=0)[:, 0]
    assert set(np.round(np.unique(means), 6)) == {0.0, 0.75, 1.0}
    assert np.mean(means == 0.75) == pytest.approx(0.5, abs=0.03)


def test_seeds():
    """Images are averaged over seeds; the spread is that of the seeds' means; order of rows does not matter."""
    rng = np.random.default_rng(3)
    base = rng.uniform(0.5, 0.9, 25)
    seeds = [table(base + shift) for shift in (-0.02, 0.0, 0.05)]
    shuffled = [seed.sample(frac=1, random_state=4) for seed in seeds]
    result = compare({"ehanet": seeds, "one": table(base), "mixed": shuffled}, resamples=500)
    assert result["mean"][0] == pytest.approx(base.mean() + 0.01)
    assert result.sd_seeds[0] == pytest.approx(np.std([-0.02, 0, 0.05], ddof=1)) and np.isnan(result.sd_seeds[1])
    assert result.p_permutation[2] == result.p_wilcoxon[2] == 1  # image by image there is no difference
    assert result.difference[2] == pytest.approx(0, abs=1e-15) and result.difference[1] == pytest.approx(-0.01)


def test_undefined_scores_are_left_out_and_counted():
    one = table([0.5, np.nan, 0.7, 0.9], score="recall")
    other = table([0.6, 0.8, np.nan, 0.9], score="recall")
    result = compare({"ehanet": one, "other": [other, one]}, score="recall", resamples=300)
    assert result.n.tolist() == [3, 2] and result.left_out.tolist() == [1, 2]
    assert result["mean"].tolist() == pytest.approx([0.7, 0.725])
    assert result.difference[1] == pytest.approx(((0.55 - 0.5) + 0) / 2)
    none = table([np.nan] * 4, score="recall")
    row = compare({"ehanet": one, "none": none}, score="recall", resamples=300).iloc[1]
    assert row.n == 0 and np.isnan(row["mean"]) and np.isnan(row.low) and not row.bold and row.first_share < 0.01


def test_ranks():
    means = np.array([[0.9, 0.8, 0.7], [0.6, 0.8, 0.7], [0.9, 0.9, 0.1], [np.nan, 0.5, 0.4]])
    np.testing.assert_allclose(
        rank_shares(means, lower_is_better=False),
        [[1.5 / 4, 0.5 / 4, 2 / 4], [2.5 / 4, 1.5 / 4, 0], [0, 2 / 4, 2 / 4]],
    )
    assert rank_shares(means, lower_is_better=True)[2, 0] == 3 / 4


def test_rank_stability(frames):
    shares = rank_stability(frames, resamples=1000)
    assert shares.index.tolist() == list(frames) and shares.columns.tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(shares.sum(axis=0), 1)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert shares.loc["bad", 4] == 1 and 0.02 < shares.loc["noise", 1] < 0.98
    np.testing.assert_allclose(shares[1], compare(frames, resamples=1000).first_share)


def test_same_seed_same_numbers(frames):
    pd.testing.assert_frame_equal(compare(frames, resamples=500), compare(frames, resamples=500))
    assert compare(frames, resamples=500, seed=9).low[0] != compare(frames, resamples=500).low[0]


def test_memory_grows_with_the_images_not_with_their_square():
    values, clusters = np.random.default_rng(0).random((2, 20_000)), np.arange(20_000)
    values[0, 3] = np.nan
    tracemalloc.start()
    sums, counts = cluster_sums(values, clusters)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50 * values.nbytes and counts[0].sum() == 19_999 and np.array_equal(sums[1], values[1])


def test_chunks_change_nothing(frames, monkeypatch):
    values = np.array([frame.dice for frame in frames.values()])
    whole = bootstrap_means(values, np.arange(60), 50, seed=0), permutation_pvalues(values - 0.7, np.arange(60), 50, seed=0)
    monkeypatch.setattr("ehanet.metrics.resampling._CHUNK", 300)
    np.testing.assert_allclose(bootstrap_means(values, np.arange(60), 50, seed=0), whole[0])
    np.testing.assert_allclose(permutation_pvalues(values - 0.7, np.arange(60), 50, seed=0), whole[1])


@pytest.mark.parametrize("change, message", [
    (lambda f: {}, "no score tables"),
    (lambda f: {"other": f["worse"]}, "reference 'ehanet'"),
    (lambda f: f | {"worse": []}, "'worse' has no score table"),
    (lambda f: f | {"worse": f["worse"].iloc[1:]}, "image '000' is not in every score table"),
    (lambda f: f | {"worse": f["worse"].rename(columns={"dice": "iou"})}, "'worse' has no column 'dice'"),
    (lambda f: f | {"worse": pd.concat([f["worse"], f["worse"].iloc[:1]])}, "image '000' is twice"),
    (lambda f: f | {"worse": f["worse"].assign(group="a")}, "has another group"),
    (lambda f: f | {"worse": f["worse"].iloc[:0]}, "has no rows"),
])  # fmt: skip
def test_bad_tables_are_named(frames, change, message):
    with pytest.raises(ValueError, match=message) as error:
        compare(change(frames))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("alpha", [0, 1, 2, float("nan")])
def test_a_level_that_is_no_level_is_refused(alpha):
    frame = pd.DataFrame({"image": ["a", "b"], "group": ["a", "b"], "dice": [0.5, 0.6]})
    with pytest.raises(ValueError, match="alpha must lie between 0 and 1"):
        compare({"ehanet": frame}, alpha=alpha)


def test_the_same_runs_in_another_order_are_no_other_method():
    def frame(value):
        return pd.DataFrame({"image": list("abcdefghijkl"), "group": list("abcdefghijkl"), "dice": value})

    seeds = [frame(value) for value in (0.1, 0.2, 0.3)]
    found = compare({"ehanet": seeds, "again": seeds[::-1]}).set_index("method").loc["again"]
    assert (found[["p_wilcoxon", "p_permutation", "p_holm"]] == 1).all() and found["effect"] == 0 and found["first_share"] == 0.5 and not found["bold"]
