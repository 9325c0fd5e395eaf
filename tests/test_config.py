import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from kart_jax import config
from kart_jax.cli.options import parse
from kart_jax.config import PRESETS, RunConfig, TrainConfig


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_its_file(name: str, tmp_path: Path) -> None:
    config.save(PRESETS[name], tmp_path / "config.json")
    assert config.load(tmp_path / "config.json") == PRESETS[name]
    assert PRESETS[name].run.preset == name


def test_flags_override_the_preset() -> None:
    parsed = parse(
        ["--preset", "gpu", "--track", "mines", "--num-envs", "4", "--clip-range", "0.1"]
    )
    assert parsed.race.track == ("mines",)
    assert parsed.workers.num_envs == 4
    assert parsed.ppo.clip_range == 0.1
    assert parsed.network == PRESETS["gpu"].network


def test_every_field_is_a_flag_of_its_own() -> None:
    names = [
        field.name
        for part in fields(TrainConfig)
        for field in fields(getattr(PRESETS["cpu"], part.name))
    ]
    assert len(names) == len(set(names))


def test_a_saved_configuration_is_a_start(tmp_path: Path) -> None:
    saved = PRESETS["cpu"].to_dict()
    saved["ppo"]["discount"] = 0.97
    (tmp_path / "mine.json").write_text(json.dumps(saved))
    parsed = parse(["--config", str(tmp_path / "mine.json"), "--epochs", "2"])
    assert (parsed.ppo.discount, parsed.ppo.epochs) == (0.97, 2)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--config", "mine.json"], "config = 'mine.json' .* left out with --resume"),
        (["--preset", "gpu"], "preset = 'gpu' .* cpu, its own, or left out"),
        (["--preset", "cpu"], None),
        ([], None),
    ],
)
def test_what_a_resumed_run_would_ignore_is_refused(
    tmp_path: Path, flags: list[str], named: str | None
) -> None:
    config.save(PRESETS["cpu"], tmp_path / "config.json")
    resume = ["--resume", "--run-dir", str(tmp_path), *flags]
    if named is None:
        assert parse(resume).network == PRESETS["cpu"].network
    else:
        with pytest.raises(ValueError, match=named):
            parse(resume)


def test_another_preset_than_that_of_a_saved_configuration_is_refused(tmp_path: Path) -> None:
    config.save(PRESETS["cpu"], tmp_path / "mine.json")
    with pytest.raises(ValueError, match=r"preset = 'reference' .* cpu, its own"):
        parse(["--config", str(tmp_path / "mine.json"), "--preset", "seed"])


@pytest.mark.parametrize(
    ("part", "name", "value", "message"),
    [
        ("ppo", "minibatches", 5, "minibatches = 5 .* divisor of rollout_length"),
        ("ppo", "discount", 1.5, "discount = 1.5 .* from 0 to 1"),
        ("run", "total_steps", 0, "total_steps = 0 .* at least 1"),
        ("race", "height", 6, "height"),
        ("ppo", "microbatch", 0, "microbatch = 0 .* none or at least 1"),
    ],
)
def test_a_wrong_value_is_named(part: str, name: str, value: float, message: str) -> None:
    values = PRESETS["cpu"].to_dict()
    values[part][name] = value
    with pytest.raises(ValueError, match=message):
        TrainConfig.from_dict(values)


def test_a_resume_of_no_run_says_what_to_add() -> None:
    with pytest.raises(ValueError, match="add --run-dir RUN"):
        RunConfig(resume=True)


def test_an_unknown_field_is_named() -> None:
    values = PRESETS["cpu"].to_dict()
    values["ppo"]["lerning_rate"] = 1.0
    with pytest.raises(ValueError, match="lerning_rate"):
        TrainConfig.from_dict(values)


def test_what_is_no_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        config.load(tmp_path / "config.json")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="not a saved configuration"):
        config.load(tmp_path / "config.json")


@pytest.mark.parametrize(
    "text", ["[]", '{"race": []}', '{"race": {"time_limit": "long"}}', '{"ppo": {"lerning": 1}}']
)
def test_what_does_not_fit_is_told_with_the_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json does not fit this version: "):
        config.load(tmp_path / "config.json")


def test_the_race_of_a_policy_from_another_version_is_refused() -> None:
    race = PRESETS["cpu"].to_dict()["race"]
    assert config.race_of(race) == PRESETS["cpu"].race
    with pytest.raises(ValueError, match="weather"):
        config.race_of({**race, "weather": "rain"})


def test_a_wrong_preset_is_refused_in_the_commands_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        parse(["--preset", "tpu"])
    error = capsys.readouterr().err
    assert "python -m kart_jax.train: error:" in error
    choices = error.replace("'", "").rpartition("choose from ")[2]  # quoted in some Pythons
    assert choices.strip() == ", ".join(PRESETS) + ")"


@pytest.mark.parametrize("flags", [["--preset", "seed"], ["--preset=seed", "--karts", "2"]])
def test_the_old_name_of_the_reference_works_with_a_warning(
    flags: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    run = PRESETS["reference"].run
    assert parse(flags).run == run
    assert "the preset seed is now called reference" in caplog.text
    caplog.clear()
    saved = PRESETS["reference"].to_dict()
    saved["run"]["preset"] = "seed"
    assert TrainConfig.from_dict(saved).run == run
    assert not caplog.records


def test_a_wrong_flag_ends_with_a_word_about_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(["--clip-range", "-1"])
    assert stopped.value.code == 2
    assert "clip_range = -1.0 is not allowed" in capsys.readouterr().err


def test_without_drawing_each_track_needs_an_environment() -> None:
    coach = PRESETS["coach"]
    race = replace(coach.race, track=tuple(str(n) for n in range(17)))
    with pytest.raises(ValueError, match=r"num_envs = 16 .* at least 17, one for each track"):
        replace(coach, race=race)
    replace(coach, race=race, workers=replace(coach.workers, num_envs=18))
    replace(PRESETS["cpu"], race=replace(PRESETS["cpu"].race, track=race.track))


@pytest.mark.real_game
def test_all_stands_for_all_tracks() -> None:
    tracks = parse(["--track", "all", "--laps", "2"]).race.track
    assert len(tracks) == 21
    assert tracks == tuple(sorted(tracks))
    weights = [str(n) for n in range(21)]
    race = parse(["--track", "all", "--track-weights", *weights]).race
    assert dict(zip(race.track, race.track_weights, strict=True))["abyss"] == 0
