"""The container files agree with each other, with the service and with the release."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from service import __version__
from service.config import ServiceConfig
from service.supervisor import GRACE_S

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "deploy" / "service.Dockerfile").read_text(encoding="utf-8")
TORCHSERVE = (ROOT / "deploy" / "torchserve.Dockerfile").read_text(encoding="utf-8")
TRAINING = (ROOT / "deploy" / "training.Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
WITH_GPU: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose.gpu.yml").read_text("utf-8"))
WITH_TRACES: dict[str, Any] = yaml.safe_load(
    (ROOT / "deploy/compose.traces.yml").read_text("utf-8")
)
WITH_KEYS: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose.keys.yml").read_text("utf-8"))
STAYING = [name for name in SERVICES if name != "train"]


def test_images_are_pinned() -> None:
    images = [service["image"] for service in SERVICES.values()]
    dockerfiles = DOCKERFILE + TRAINING + TORCHSERVE
    stages = {"scratch", *re.findall(r"^FROM \S+ AS (\w+)$", dockerfiles, re.MULTILINE)}
    images += [
        image
        for image in re.findall(r"^FROM (\S+)", dockerfiles, re.MULTILINE)
        if image not in stages
    ]
    for override in (WITH_GPU, WITH_TRACES):
        images += [service["image"] for service in override["services"].values()]
    assert [image for image in images if not re.search(r":v?\d+\.\d+\.\d+", image)] == []


def test_images_are_of_this_release() -> None:
    for text in (DOCKERFILE, TRAINING, TORCHSERVE):
        assert f'org.opencontainers.image.version="{__version__}"' in text
    assert SERVICES["service"]["image"] == f"ganymede/service:{__version__}"
    assert SERVICES["train"]["image"] == f"ganymede/training:{__version__}"
    assert SERVICES["torchserve"]["image"] == f"ganymede/torchserve:{__version__}"
    assert WITH_GPU["services"]["service"]["image"] == f"ganymede/service-gpu:{__version__}"
    assert WITH_TRACES["services"]["service"]["image"] == f"ganymede/service-otel:{__version__}"


@pytest.mark.parametrize("name", SERVICES)
def test_containers_have_no_more_rights_than_they_need(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


@pytest.mark.parametrize("name", SERVICES)
def test_memory_is_bounded(name: str) -> None:
    limit = SERVICES[name]["deploy"]["resources"]["limits"]["memory"]
    assert re.fullmatch(r"\d+g|\$\{[A-Z_]+:-\d+g\}", limit)


@pytest.mark.parametrize("name", STAYING)
def test_what_stays_is_restarted(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", STAYING)
def test_what_stays_has_a_health_check(name: str) -> None:
    service = SERVICES[name]
    if "build" in service:
        dockerfile = (ROOT / service["build"]["dockerfile"]).read_text("utf-8")
        assert re.search(r"^HEALTHCHECK .*CMD", dockerfile, re.MULTILINE)
        return
    inside = {"prometheus": 9090, "grafana": 3000}[name]
    assert service["ports"][0].endswith(f":{inside}")
    assert any(f"http://localhost:{inside}" in word for word in service["healthcheck"]["test"])


def test_override_changes_what_the_dockerfile_knows() -> None:
    [(name, service)] = WITH_GPU["services"].items()
    assert name in SERVICES
    for argument, value in service["build"]["args"].items():
        assert re.search(rf"^ARG {argument}=", DOCKERFILE, re.MULTILINE)
        assert value in {"cpu", "gpu"}
    [device] = service["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {"cpu", "gpu"} <= extras["optional-dependencies"].keys()


def test_override_with_traces_brings_the_extra_that_they_need() -> None:
    [(name, service)] = WITH_TRACES["services"].items()
    assert name in SERVICES
    assert service["environment"]["GANYMEDE_TRACES"] == "true"
    [(argument, extras)] = service["build"]["args"].items()
    assert re.search(rf"^ARG {argument}=$", DOCKERFILE, re.MULTILINE)
    extra, others = extras.split(" ")
    assert others == SERVICES[name]["build"]["args"][argument], "what is asked for comes too"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert any("opentelemetry" in each for each in project["optional-dependencies"][extra])


@pytest.mark.parametrize(
    ("runtime", "extras", "brought"),
    [("cpu", "", {"onnxruntime"}), ("gpu", "otel", {"onnxruntime-gpu", "opentelemetry-sdk"})],
)
def test_image_is_built_of_what_is_asked_for(runtime: str, extras: str, brought: set[str]) -> None:
    lines = DOCKERFILE.replace("\\\n", "")
    programs = re.findall(r'^RUN python -c "(import tomllib.*?)" > \w+\.txt', lines, re.MULTILINE)
    told = ""
    for program in programs:
        asked = program.replace("$RUNTIME", runtime).replace("$EXTRAS", extras)
        command = [sys.executable, "-c", asked]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        told += done.stdout
    found = {Requirement(line).name for line in told.split("\n") if line}
    optional = {"onnxruntime", "onnxruntime-gpu", "opentelemetry-sdk", "torch"}
    assert "fastapi" in found
    assert found & optional == brought


def test_list_of_parts_is_made_alike_by_make_and_by_the_image() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    pins = [re.findall(r"cyclonedx-bom==[0-9.]+", text) for text in (makefile, DOCKERFILE)]
    assert len(pins[0]) == 1
    assert pins[0] == pins[1]
    *_, last = re.findall(r"^FROM .*$", DOCKERFILE, re.MULTILINE)
    assert " AS " not in last, "what is built when no target is named is the service"


def test_training_image_holds_what_training_needs() -> None:
    assert set(re.findall(r"extras\['(\w+)'\]", TRAINING)) == {"train", "export", "cpu"}
    assert re.search(r"^USER 10001:10001$", TRAINING, re.MULTILINE)
    mounts = {mount.split(":")[1] for mount in SERVICES["train"]["volumes"]}
    made = re.findall(r"mkdir -p (.*) \\", TRAINING)[0].split()
    assert mounts == set(made)
    presets = {path.stem for path in (ROOT / "training" / "presets").glob("*.yaml")}
    assert SERVICES["train"]["environment"]["PRESET"].split(":-")[1].rstrip("}") in presets


def test_training_says_before_it_begins_that_models_cannot_be_written(tmp_path: Path) -> None:
    ganymede = tmp_path / "ganymede"
    ganymede.write_text('#!/bin/sh\necho "$@" >> called\necho "run of $2"\n')
    ganymede.chmod(0o755)
    train = SERVICES["train"]
    command = [*train["entrypoint"], *(word.replace("$$", "$") for word in train["command"])]
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PRESET": "fast"}

    def start() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    refused = start()  # a folder that is missing cannot be written either, not even by root
    assert refused.returncode == 1
    assert "TRAINING_USER=$(id -u):$(id -g)" in refused.stderr
    assert not (tmp_path / "called").exists()
    (tmp_path / "models").mkdir()
    assert start().returncode == 0
    told = (tmp_path / "called").read_text("utf-8").splitlines()
    assert told == ["train fast", "export run of fast --name fast"]


def test_torchserve_is_open_where_it_is_asked_and_scraped() -> None:
    lines = (ROOT / "deploy/torchserve/config.properties").read_text("utf-8").splitlines()
    settings = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    ports = {name: settings[f"{name}_address"] for name in ("inference", "management", "metrics")}
    assert ports["management"].startswith("http://127.0.0.1:"), "it can load any code"
    service = SERVICES["torchserve"]
    assert service["ports"][0].endswith(f":{ports['inference'].rpartition(':')[2]}")
    assert service["volumes"] == [f"./models/torchserve:{settings['model_store']}:ro"]
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text("utf-8"))
    [job] = [each for each in config["scrape_configs"] if each["job_name"] == "torchserve"]
    [found] = job["dns_sd_configs"]
    assert found["names"] == ["torchserve"]
    assert ports["metrics"].endswith(f":{found['port']}")
    assert f"/{Path(settings['metrics_config']).parent.name}/\n" in TORCHSERVE
    assert re.search(r"^USER 10001:10001$", TORCHSERVE, re.MULTILINE)
    assert service["read_only"] is True


def test_service_runs_as_a_plain_user_on_a_read_only_root() -> None:
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, re.MULTILINE)
    assert SERVICES["service"]["read_only"] is True
    assert "./models:/models:ro" in SERVICES["service"]["volumes"]


def test_settings_given_to_the_service_exist() -> None:
    known = {f"GANYMEDE_{name.upper()}" for name in ServiceConfig.model_fields}
    given = set(re.findall(r"^\s+(GANYMEDE_\w+)=", DOCKERFILE, re.MULTILINE))
    assert {"GANYMEDE_HOST", "GANYMEDE_MODELS"} <= given
    given |= set(SERVICES["service"]["environment"])
    for override in (WITH_GPU, WITH_KEYS):
        given |= set(override["services"]["service"]["environment"])
    assert given <= known


def test_keys_lie_where_the_container_may_write_and_they_stay() -> None:
    file = Path(WITH_KEYS["services"]["service"]["environment"]["GANYMEDE_KEYS_FILE"])
    volumes = [mount.split(":") for mount in SERVICES["service"]["volumes"]]
    assert [str(file.parent)] in [rest for name, *rest in volumes if name in COMPOSE["volumes"]]


def test_stopping_waits_for_the_drain() -> None:
    worst_s = 2 * ServiceConfig.model_fields["drain_s"].default + GRACE_S
    assert int(SERVICES["service"]["stop_grace_period"].removesuffix("s")) > worst_s


def test_mounted_files_exist() -> None:
    mounts = [mount.split(":")[0] for each in SERVICES.values() for mount in each["volumes"]]
    ours = [
        mount for mount in mounts if mount.startswith("./") and not mount.startswith("./models")
    ]
    assert ours
    assert [mount for mount in ours if not (ROOT / mount).exists()] == []
    named = [mount for mount in mounts if not mount.startswith(".")]
    assert set(named) == set(COMPOSE["volumes"])


def test_provisioned_paths_are_mounted() -> None:
    provider = yaml.safe_load(
        (ROOT / "deploy/grafana/provisioning/dashboards/ganymede.yml").read_text("utf-8")
    )["providers"][0]
    mounts = {mount.split(":")[1] for mount in SERVICES["grafana"]["volumes"]}
    assert provider["options"]["path"] in mounts
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (ROOT / "deploy/grafana/dashboards" / Path(home).name).is_file()


def test_prometheus_scrapes_the_service_by_its_name_and_port() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text("utf-8"))
    jobs = {
        job["job_name"]: job["static_configs"][0]["targets"]
        for job in config["scrape_configs"]
        if "static_configs" in job
    }
    assert jobs["ganymede"] == ["service:8000"]
    assert re.search(r"GANYMEDE_PORT=8000\b", DOCKERFILE)
    interval = config["global"]["scrape_interval"]
    source = yaml.safe_load(
        (ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text("utf-8")
    )["datasources"][0]
    assert source["jsonData"]["timeInterval"] == interval
    assert source["url"] == "http://prometheus:9090"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_accepts_its_configuration() -> None:
    command = ["promtool", "check", "config", str(ROOT / "deploy/prometheus/prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_build_context_holds_what_the_image_is_made_of() -> None:
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert "*" in ignored, "the context is what is named, so that no file gets in by accident"
    kept = [line.removeprefix("!").rstrip("/") for line in ignored if line.startswith("!")]
    assert [name for name in kept if not (ROOT / name).exists()] == []
    for needed in ("ganymede.py", "service", "export", "training", "pyproject.toml", "README.md"):
        assert needed in kept
    for needed in ("deploy/torchserve", "deploy/ray", "constraints.txt"):
        assert needed in kept
