"""Figures: same numbers, same bytes; every number is drawn; bad files are told cell by cell."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from polychrome.errors import InputError
from polychrome.reporting import figures
from polychrome.reporting.figures import COLOURS, LABELS, colour_of, pass_at_k_figure, plane_figure, training_figure

MODELS = [model for model in COLOURS if model != "human"]
PASS_HEADER = "model,k,value,low,high"
PLANE_HEADER = (
    "model,semantic_diversity,semantic_diversity_low,semantic_diversity_high,pass_at_1,pass_at_1_low,pass_at_1_high"
)


def pass_csv(folder, models=MODELS, human=True):
    rows = [
        f"{model},{k},{0.01 * k + 0.05 * i},{0.01 * k + 0.05 * i - 0.04},{0.01 * k + 0.05 * i + 0.03}"
        for i, model in enumerate(models)
        for k in (10, 1, 5)
    ]
    path = folder / "pass_at_k.csv"
    path.write_text("\n".join([PASS_HEADER, *rows, *(["human,1,0.41,0.3,0.5"] if human else [])]) + "\n")
    return path


def plane_csv(folder, models=MODELS, spread=1.0):
    def cells(middle, below, above):
        return f"{middle},{middle - below},{middle + above}"

    rows = [
        f"{model},{cells(0.6 + 0.02 * spread * i, 0.01, 0.01)},{cells(0.1 + 0.01 * spread * i, 0.02, 0.03)}"
        for i, model in enumerate(models)
    ]
    path = folder / "plane.csv"
    path.write_text("\n".join([PLANE_HEADER, *rows]) + "\n")
    return path


def steps(count, **metrics):
    return [{"step": i + 1, **{name: start + 0.01 * i for name, start in metrics.items()}} for i in range(count)]


CURVES = {
    "baseline": steps(30, loss=3.0, cross_entropy=3.0),
    "polychromic": steps(30, loss=2.0, cross_entropy=3.0, diversity=0.8),
    "grpo_from_polychromic": steps(20, loss=0.0, reward=0.5, kl=0.0, diversity=0.8),
}


@pytest.fixture
def drawn(monkeypatch):
    """The figures that would have been saved, still open to be looked into."""
    kept = []
    monkeypatch.setattr(figures, "_save", lambda figure, path: kept.append(figure))
    return kept


def is_png_of_readme_width(path):
    data = path.read_bytes()
    return data[:8] == b"\x89PNG\r\n\x1a\n" and int.from_bytes(data[16:20], "big") == 1800


def texts(figure):
    return {text.get_text() for text in figure.findobj(plt.Text) if text.get_text()}


def draw_all(folder):
    pass_at_k_figure(pass_csv(folder), folder / "pass.png")
    plane_figure(plane_csv(folder), folder / "plane.png")
    training_figure(CURVES, folder / "training.png")
    return [folder / name for name in ("pass.png", "plane.png", "training.png")]


# --- all figures -------------------------------------------------------------------------------------------------


def test_the_same_numbers_give_the_same_bytes_whatever_the_user_set_matplotlib_to(tmp_path):
    first = [path.read_bytes() for path in draw_all(tmp_path)]
    with plt.rc_context({"font.size": 20, "axes.facecolor": "red", "lines.linewidth": 9}):
        second = [path.read_bytes() for path in draw_all(tmp_path)]
    assert first == second
    assert not any(b"Software" in data or b"Matplotlib" in data for data in first)
    assert all(is_png_of_readme_width(tmp_path / name) for name in ("pass.png", "plane.png", "training.png"))


def test_figures_are_closed_and_leave_nothing_beside_them(tmp_path):
    draw_all(tmp_path)
    assert plt.get_fignums() == []
    assert {path.name for path in tmp_path.iterdir()} == {
        *("pass_at_k.csv", "plane.csv", "pass.png", "plane.png", "training.png")
    }


def test_a_figure_that_cannot_be_saved_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="while saving"):
        training_figure(CURVES, tmp_path / "file" / "training.png")


def test_each_model_has_a_colour_and_a_label_of_its_own():
    assert len(set(COLOURS.values())) == len(COLOURS)
    assert len(set(LABELS.values())) == len(LABELS)
    assert LABELS.keys() == COLOURS.keys()


def test_added_models_take_spare_colours_apart_from_each_other():
    added = ["grpo_drgrpo_from_baseline", "an_arm"]
    colours = {colour_of(model, [*MODELS, *added]) for model in added}
    assert len(colours) == 2
    assert not colours & set(COLOURS.values())


# --- Pass@k ------------------------------------------------------------------------------------------------------


def test_pass_at_k_draws_each_model_once_in_order_of_k_and_humans_as_a_level(tmp_path, drawn):
    pass_at_k_figure(pass_csv(tmp_path), tmp_path / "pass.png")
    before, compared = drawn[0].axes
    curves = [line for axis in (before, compared) for line in axis.lines if len(line.get_xdata()) == 3]
    assert len(curves) == len(MODELS)
    assert {line.get_color() for line in curves} == {COLOURS[model] for model in MODELS}
    assert all((np.diff(line.get_xdata()) > 0).all() for line in curves)
    for model in MODELS:
        line = next(line for line in curves if line.get_color() == COLOURS[model])
        assert line.get_ydata() == pytest.approx([0.01 * k + 0.05 * MODELS.index(model) for k in (1, 5, 10)])
    levels = [line for axis in (before, compared) for line in axis.lines if line.get_color() == COLOURS["human"]]
    assert [list(line.get_ydata()) for line in levels] == [[0.41, 0.41]] * 2
    assert set(LABELS.values()) <= texts(drawn[0])


def test_pass_at_k_draws_every_interval(tmp_path, drawn):
    pass_at_k_figure(pass_csv(tmp_path, ["baseline"], human=False), tmp_path / "pass.png")
    (axis,) = drawn[0].axes
    (bars,) = axis.collections
    ends = [sorted(segment[:, 1]) for segment in bars.get_segments()]
    expected = [[0.01 * k - 0.04, 0.01 * k + 0.03] for k in (1, 5, 10)]
    assert np.array(ends) == pytest.approx(np.array(expected))


def test_labels_at_line_ends_do_not_touch_even_when_the_lines_do(tmp_path, drawn):
    path = tmp_path / "same.csv"
    path.write_text(PASS_HEADER + "\n" + "".join(f"{model},{k},0.5,0.4,0.6\n" for model in MODELS for k in (1, 10)))
    pass_at_k_figure(path, tmp_path / "pass.png")
    drawn[0].draw_without_rendering()
    for axis in drawn[0].axes:
        boxes = [plt.Text.get_window_extent(label) for label in axis.texts]
        assert len(boxes) == 4
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


# --- the plane ---------------------------------------------------------------------------------------------------


def test_the_plane_has_a_cross_a_point_and_a_name_for_each_model(tmp_path, drawn):
    plane_figure(plane_csv(tmp_path), tmp_path / "plane.png")
    (axis,) = drawn[0].axes
    points = {line.get_color(): (line.get_xdata()[0], line.get_ydata()[0]) for line in axis.lines}
    for i, model in enumerate(MODELS):
        assert points[COLOURS[model]] == pytest.approx((0.6 + 0.02 * i, 0.1 + 0.01 * i))
    assert len(axis.collections) == 2 * len(MODELS)
    assert {LABELS[model] for model in MODELS} <= texts(drawn[0])


def test_arrows_lead_from_each_warm_start_to_its_own_grpo(tmp_path, drawn):
    plane_figure(plane_csv(tmp_path), tmp_path / "plane.png")
    place = {model: (0.6 + 0.02 * i, 0.1 + 0.01 * i) for i, model in enumerate(MODELS)}
    arrows = [text for text in drawn[0].axes[0].texts if text.get_text() == ""]
    assert {tuple(np.round([*arrow.xyann, *arrow.xy], 6)) for arrow in arrows} == {
        tuple(np.round([*place[f"{start}_warmstart"], *place[f"grpo_from_{start}"]], 6))
        for start in ("baseline", "polychromic")
    }


@pytest.mark.parametrize("spread", [1.0, 0.1])  # along a line, and crowded in the middle
def test_names_in_the_plane_hide_neither_points_nor_each_other(tmp_path, drawn, spread):
    plane_figure(plane_csv(tmp_path, spread=spread), tmp_path / "plane.png")
    drawn[0].draw_without_rendering()
    (axis,) = drawn[0].axes
    boxes = [plt.Text.get_window_extent(label) for label in axis.texts if label.get_text()]
    points = axis.transData.transform([(line.get_xdata()[0], line.get_ydata()[0]) for line in axis.lines])
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert not any(box.contains(*point) for box in boxes for point in points)


# --- training ----------------------------------------------------------------------------------------------------


def test_training_has_a_panel_for_each_metric_that_an_arm_of_its_phase_measured(tmp_path, drawn):
    training_figure(CURVES, tmp_path / "training.png")
    titles = [axis.get_title(loc="left") for axis in drawn[0].axes if axis.get_visible()]
    assert titles == [panel.title for panel in figures.PANELS]
    lines = {axis.get_title(loc="left"): {line.get_color() for line in axis.lines} for axis in drawn[0].axes}
    assert lines["SFT: loss"] == {COLOURS["baseline"], COLOURS["polychromic"]}
    assert lines["SFT: diversity of samples"] == {COLOURS["polychromic"]}
    assert lines["GRPO: diversity of samples"] == {COLOURS["grpo_from_polychromic"]}
    without_grpo = {arm: rows for arm, rows in CURVES.items() if arm == "baseline"}
    training_figure(without_grpo, tmp_path / "training.png")
    titles = [axis.get_title(loc="left") for axis in drawn[1].axes if axis.get_visible()]
    assert titles == ["SFT: loss", "SFT: cross-entropy (nats a token)"]


def test_training_draws_the_steps_faint_and_their_running_mean_bold(tmp_path, drawn):
    jagged = [{"step": i, "loss": float(i % 2)} for i in range(40)]
    training_figure({"baseline": jagged}, tmp_path / "training.png")
    faint, bold = drawn[0].axes[0].lines
    assert list(faint.get_ydata()) == [row["loss"] for row in jagged]
    assert faint.get_alpha() < 1
    middle = [np.mean([(i + d) % 2 for d in range(-2, 3)]) for i in range(2, 38)]  # 40 / 20 on each side
    assert bold.get_ydata()[2:38] == pytest.approx(middle)


def test_training_without_a_number_to_draw_is_an_error(tmp_path):
    with pytest.raises(InputError, match="nothing to draw"):
        training_figure({"baseline": [{"step": 1}]}, tmp_path / "training.png")


def test_training_with_a_number_that_is_not_finite_is_told_by_arm_and_step(tmp_path):
    with pytest.raises(InputError, match=r"baseline:step 2: found loss nan"):
        training_figure({"baseline": [{"step": 1, "loss": 1.0}, {"step": 2, "loss": float("nan")}]}, tmp_path / "t.png")
    assert not (tmp_path / "t.png").exists()


# --- bad files ---------------------------------------------------------------------------------------------------


def test_every_bad_cell_is_told_by_line_and_column(tmp_path):
    path = tmp_path / "pass.csv"
    path.write_text(f"{PASS_HEADER}\nbaseline,1,nan,0.1,0.3\nbaseline,5,0.2,,much\n")
    with pytest.raises(InputError) as caught:
        pass_at_k_figure(path, tmp_path / "pass.png")
    assert [problem.where for problem in caught.value.problems] == [
        f"{path}:{c}" for c in ("2:value", "3:low", "3:high")
    ]
    assert not (tmp_path / "pass.png").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "no such file"),
        ("", ":1:model: found no such column"),
        ("model,k,value\nbaseline,1,0.2\n", ":1:low: found no such column"),
        (f"{PASS_HEADER}\n", "no rows"),
        (f"{PASS_HEADER}\nhuman,1,0.4,0.3,0.5\n", "no models"),
    ],
)
def test_a_file_without_models_is_told(tmp_path, content, told):
    path = tmp_path / "pass.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=told):
        pass_at_k_figure(path, tmp_path / "pass.png")


def test_a_model_with_two_places_in_the_plane_is_told(tmp_path):
    path = plane_csv(tmp_path, ["baseline", "baseline", "polychromic"])
    with pytest.raises(InputError, match="baseline: found two rows"):
        plane_figure(path, tmp_path / "plane.png")
