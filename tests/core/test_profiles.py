from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dm_isaac_g1.core import paths, profiles
from dm_isaac_g1.core.errors import ConfigError, ExitCode
from dm_isaac_g1.core.profile import Docker, DockerRuntime, Host, Paths, Profile

MINIMAL = "hosts:\n  ws: {ssh: me@10.0.0.1}\n"
Own = Callable[..., Path]


@pytest.fixture
def own() -> Own:
    """Writes a file into the user's folder: own("name", text), own("name", text, kind="recipes")."""

    def write(name: str, text: str = MINIMAL, kind: str = "profiles") -> Path:
        path = paths.config_dir() / kind / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as caught:
        act()
    assert caught.value.exit_code == ExitCode.USAGE
    assert "\n" not in caught.value.line()
    return caught.value.line()


# --- what is shipped --------------------------------------------------------------------------------------------


def test_every_shipped_profile_and_recipe_is_without_mistakes() -> None:
    names = [found.name for found in profiles.list_profiles()]
    assert names == ["lab", "workstation-spark"]
    for name in names:
        path, problems = profiles.check_profile(name)
        assert problems == [], path
        profile = profiles.load_profile(name)
        assert profile.name == name
        recipes = [found.name for found in profiles.list_recipes(profile)]
        assert profile.defaults.recipe in recipes
        for recipe in recipes:
            assert profiles.load_recipe(recipe, profile).name == recipe


def test_the_lab_profile_lives_in_the_labs_folder_and_trains_with_this_interpreter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DM_G1_LAB_DIR", str(tmp_path / "lab"))
    lab = profiles.load_profile("lab")
    assert lab.ssh_config == str(tmp_path / "lab" / "ssh_config")
    workstation, spark = lab.hosts["workstation"], lab.hosts["spark"]
    assert (workstation.ssh, spark.ssh) == ("lab-workstation", "lab-spark")
    assert (workstation.roles, spark.roles) == (("train", "sim"), ("serve",))
    assert workstation.python == sys.executable
    assert workstation.paths.workspace == str(tmp_path / "lab" / "workstation" / "workspace")
    assert "{lab}" not in repr(lab)
    assert "{python}" not in repr(lab)


def test_the_example_names_the_machines_of_the_workstation_and_spark() -> None:
    profile = profiles.load_profile("workstation-spark")
    workstation, spark = profile.hosts["workstation"], profile.hosts["spark"]
    assert "192.168.1.205" in workstation.ssh
    assert workstation.runtime == DockerRuntime(docker=Docker(container="dm-workstation", conda_env="unitree_sim_env"))
    assert workstation.paths.workspace == "/workspace"
    assert "192.168.1.237" in spark.ssh
    assert spark.runtime == DockerRuntime(docker=Docker(container="groot-server"))
    assert spark.port == 5555


def test_the_labs_recipe_is_small_and_real() -> None:
    recipe = profiles.load_recipe("lab-bc")
    assert (recipe.trainer, recipe.datasets, recipe.save_total_limit) == ("bc", ("g1_right_arm",), 2)
    assert recipe.steps <= 5000
    assert recipe.steps % recipe.save_steps == 0


# --- where one is found -----------------------------------------------------------------------------------------


def test_the_users_profile_hides_a_shipped_one_of_the_same_name(own: Own) -> None:
    path = own("lab")
    assert profiles.find_profile("lab") == path
    assert [(found.name, found.origin) for found in profiles.list_profiles()] == [
        ("lab", "user"),
        ("workstation-spark", "shipped"),
    ]


def test_the_option_wins_over_the_variable_and_the_variable_over_the_users_only_profile(
    own: Own, monkeypatch: pytest.MonkeyPatch
) -> None:
    own("mine")
    assert profiles.load_profile().name == "mine"
    monkeypatch.setenv("DM_G1_PROFILE", "lab")
    assert profiles.load_profile().name == "lab"
    assert profiles.load_profile("workstation-spark").name == "workstation-spark"


def test_a_path_is_read_as_a_path(tmp_path: Path) -> None:
    path = tmp_path / "anywhere.yaml"
    path.write_text(MINIMAL)
    assert profiles.load_profile(str(path)).name == "anywhere"
    assert refusal(lambda: profiles.load_profile(str(tmp_path / "nowhere.yaml"))).endswith("nowhere.yaml: no such file")


def test_without_any_profile_the_way_on_is_told() -> None:
    with pytest.raises(profiles.NoProfile, match=r"no profile yet; `dm-g1 profile new` writes one; `dm-g1 --lab`"):
        profiles.load_profile()


def test_several_profiles_and_none_chosen_lists_them_unless_one_is_the_default(own: Own) -> None:
    own("a")
    own("b")
    assert refusal(profiles.load_profile) == (
        "which profile? There are: a, b; say --profile NAME or set $DM_G1_PROFILE"
    )
    own("default")
    assert profiles.load_profile().name == "default"


def test_an_unknown_profile_names_the_nearest_one() -> None:
    assert refusal(lambda: profiles.load_profile("workstation-sprak")) == (
        "no profile 'workstation-sprak'; did you mean 'workstation-spark'?"
    )
    assert refusal(lambda: profiles.load_profile("zzz")) == "no profile 'zzz'; there are: lab, workstation-spark"


def test_an_unknown_recipe_names_the_nearest_one() -> None:
    assert refusal(lambda: profiles.load_recipe("lab-bd")) == "no recipe 'lab-bd'; did you mean 'lab-bc'?"


def test_recipes_of_the_profiles_own_folder_come_first_then_the_users(own: Own, tmp_path: Path) -> None:
    folder = tmp_path / "team"
    folder.mkdir()
    (folder / "lab-bc.yaml").write_text("trainer: bc\nsteps: 7\n")
    own("lab-bc", "trainer: bc\nsteps: 8\n", kind="recipes")
    own("mine", "trainer: bc\nsteps: 9\n", kind="recipes")
    profile_file = tmp_path / "p.yaml"
    profile_file.write_text("recipes: [team]\n")
    profile = profiles.load_profile(str(profile_file))
    assert profile.recipes == (str(folder),)
    assert profiles.load_recipe("lab-bc", profile).steps == 7
    assert profiles.load_recipe("lab-bc").steps == 8
    assert profiles.load_recipe("mine", profile).steps == 9


def test_hidden_and_half_written_files_are_no_profiles(own: Own) -> None:
    folder = own("good").parent
    (folder / ".good.123.new").write_text("x")
    (folder / ".hidden.yaml").write_text("x")
    (folder / "notes.txt").write_text("x")
    (folder / "folder.yaml").mkdir()
    assert [found.name for found in profiles.list_profiles() if found.origin == "user"] == ["good"]


# --- what it means ----------------------------------------------------------------------------------------------


def test_a_tilde_is_the_users_home_here_and_stays_a_tilde_on_the_host(own: Own, own_home: Path) -> None:
    own("mine", "ssh_config: ~/my_ssh\nhosts:\n  ws: {ssh: a, paths: {workspace: ~/w}}\n")
    profile = profiles.load_profile()
    assert profile.ssh_config == str(own_home / "my_ssh")
    assert profile.hosts["ws"].paths.workspace == "~/w"


def test_the_home_of_nobody_is_a_missing_file_not_a_traceback() -> None:
    assert refusal(lambda: profiles.load_profile("~nobody-here/x.yaml")) == "~nobody-here/x.yaml: no such file"


def test_the_files_name_is_the_name(own: Own) -> None:
    own("mine", "name: mine\n" + MINIMAL)
    assert profiles.load_profile().name == "mine"
    own("mine", "title: T\nname: other\n" + MINIMAL)
    assert "mine.yaml:2: name: 'other', but the file is mine.yaml; leave the line out" in refusal(profiles.load_profile)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hosts:\n  ws: {ssh: 'a b'}\n", ":2: hosts.ws.ssh: 'a b' is no SSH target; expected an alias"),
        ("hosts:\n  ws: {ssh: -oProxyCommand=x}\n", ":2: hosts.ws.ssh: '-oProxyCommand=x' is no SSH target"),
        ("hosts:\n  ws: {ssh: 'me@h:99999'}\n", ":2: hosts.ws.ssh: '99999' is no port; expected 1 to 65535"),
        ("hosts:\n  ws:\n    ssh: a\n    port: 0\n", ":4: hosts.ws.port: 0 is no port; expected 1 to 65535"),
        ("hosts:\n  my host: {ssh: a}\n", ":2: hosts.my host: not a host's name; use letters, digits, dots"),
        ("hosts:\n  ws: {roles: [train]}\n", ":2: hosts.ws.ssh: missing; expected text"),
        ("hosts:\n  ws: {ssh: a, roles: [trane]}\n", "found 'trane'; did you mean 'train'?"),
        (
            "hosts:\n  ws: {ssh: a, runtime: {docker: {container: ''}}}\n",
            "runtime.docker.container: empty; expected a name",
        ),
        ("hosts:\n  ws: {ssh: a, runtime: {docker: {}}}\n", "hosts.ws.runtime.docker.container: missing"),
        ("hosts:\n  ws: {ssh: a, paths: {workspace: ''}}\n", "hosts.ws.paths.workspace: empty; expected a folder"),
        (
            "hosts:\n  ws: {ssh: a, runtime: {docker: {container: 'x; rm -rf /'}}}\n",
            ":2: hosts.ws.runtime.docker.container: 'x; rm -rf /' is no container's name",
        ),
        ("hosts:\n  ws: {ssh: a, paths: {jobs: ../../x}}\n", ":2: hosts.ws.paths.jobs: '../../x' leads out by `..`"),
        ("hosts:\n  ws: {ssh: a, paths: {logs: /a/../b}}\n", ":2: hosts.ws.paths.logs: '/a/../b' leads out by `..`"),
        ("hosts:\n  ws: {ssh: a, paths: {workspace: work}}\n", "paths.workspace: 'work' is below nothing; begin"),
        ("hosts:\n  ws: {ssh: a, paths: {models: ~root/m}}\n", "paths.models: '~root/m' is somebody else's home"),
        ('hosts:\n  ws: {ssh: a, paths: {logs: "a\\nb"}}\n', "hosts.ws.paths.logs: a control character in it"),
        (MINIMAL + "defaults:\n  train_host: wss\n", ":4: defaults.train_host: no host 'wss' here; did you mean 'ws'?"),
        (MINIMAL + "defaults:\n  thresholds: {disk_reserve_gb: .nan}\n", "expected 0 or more, found nan"),
        (MINIMAL + "defaults:\n  thresholds: {disk_reserve_gb: -1}\n", "expected 0 or more, found -1"),
        (MINIMAL + "defaults:\n  thresholds: {disk_reserve_share: 2}\n", "expected 0 to 0.9, found 2"),
        ("hosts:\n  ws: {ssh: a, env: {HF_TOKEN: x}}\n", "env.HF_TOKEN: a secret has no place in a profile; put it"),
        ("hosts:\n  ws: {ssh: a, env: {'A-B': x}}\n", "hosts.ws.env.A-B: not a variable's name"),
        ("hosts:\n  ws: {ssh: a, python: ''}\n", "hosts.ws.python: empty; expected an interpreter"),
        (MINIMAL + "defaults:\n  thresholds: {gpu_temp: 1}\n", "did you mean 'gpu_temp_c'?"),
    ],
)
def test_a_profile_that_makes_no_sense_is_refused_with_line_and_field(own: Own, text: str, said: str) -> None:
    own("mine", text)
    assert said in refusal(profiles.load_profile)


def test_check_lists_mistakes_of_form_and_of_meaning_together(own: Own) -> None:
    own("mine", "hosts:\n  ws:\n    ssh: a b\n    prot: 1\ndefaults:\n  train_host: nobody\n")
    _, problems = profiles.check_profile("mine")
    assert [(problem.line, problem.field) for problem in problems] == [
        (3, "hosts.ws.ssh"),
        (4, "hosts.ws.prot"),
        (6, "defaults.train_host"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trainer: groot\n", "trainer: expected one of bc, groot-n1.6, found 'groot'"),
        ("steps: 5\n", "trainer: missing; expected one of bc, groot-n1.6"),
        ("trainer: bc\nsteps: 0\n", ":2: steps: expected at least 1, found 0"),
        ("trainer: bc\nsteps: 1e4\n", ":2: steps: expected a whole number, found 10000.0"),
        ("trainer: bc\nlearning_rate: .nan\n", ":2: learning_rate: expected a number above 0, found nan"),
        ("trainer: bc\nsave_total_limit: -1\n", ":2: save_total_limit: expected at least 0, found -1"),
        ("trainer: bc\ndatasets: ['']\n", ":2: datasets.0: empty; expected a dataset's name or folder"),
        ("trainer: bc\noutput: ''\n", ":2: output: empty; expected a folder"),
        ("trainer: bc\nbatchsize: 3\n", ":2: batchsize: no such field here; did you mean 'batch_size'?"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused_with_line_and_field(own: Own, text: str, said: str) -> None:
    own("mine", text, kind="recipes")
    assert said in refusal(lambda: profiles.load_recipe("mine"))


# --- a new one --------------------------------------------------------------------------------------------------

HOSTS = {
    "workstation": Host(
        ssh="me@[fe80::1]:2222",
        title='Say "hi": # not a comment',
        roles=("train",),
        runtime=DockerRuntime(docker=Docker(container="c", conda_env="e")),
        paths=Paths(workspace="/work space", caches="~"),
        groot="/workspace/Isaac-GR00T",
        env={"A": "true", "B": "1"},
    ),
    "spark": Host(ssh="spark", roles=("serve",), port=5556),
}


def test_a_new_profile_reads_back_as_what_was_given_and_is_commented() -> None:
    path = profiles.write_new("mine", HOSTS)
    assert path == paths.config_dir() / "profiles" / "mine.yaml"
    assert profiles.load_profile("mine").hosts == HOSTS
    assert path.read_text().count("#") > 8
    assert [each.name for each in path.parent.iterdir()] == ["mine.yaml"]


def test_a_new_profile_without_hosts_is_a_profile() -> None:
    profiles.write_new("empty", {})
    assert profiles.load_profile("empty").hosts == Profile(name="empty").hosts


def test_a_new_profile_never_overwrites(own: Own) -> None:
    path = own("mine")
    assert "is already there; edit it, or take another name" in refusal(lambda: profiles.write_new("mine", HOSTS))
    assert path.read_text() == MINIMAL
    assert [each.name for each in path.parent.iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b"])
def test_a_new_profiles_name_is_a_file_name(name: str) -> None:
    assert "is no profile name" in refusal(lambda: profiles.write_new(name, HOSTS))


def test_a_new_profile_with_a_bad_host_leaves_nothing_behind() -> None:
    assert "hosts.ws.ssh: '-x' is no SSH target" in refusal(lambda: profiles.write_new("mine", {"ws": Host(ssh="-x")}))
    assert list((paths.config_dir() / "profiles").iterdir()) == []
