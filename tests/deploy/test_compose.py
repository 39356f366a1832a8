"""The container files agree with each other, with the service and with the release."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from service import __version__
from service.config import ServiceConfig

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "deploy" / "service.Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def test_images_are_pinned() -> None:
    images = [service["image"] for service in SERVICES.values()]
    images += re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert [image for image in images if not re.search(r":v?\d+\.\d+\.\d+", image)] == []


def test_service_image_is_of_this_release() -> None:
    assert f'org.opencontainers.image.version="{__version__}"' in DOCKERFILE
    assert SERVICES["service"]["image"] == f"ganymede/service:{__version__}"


@pytest.mark.parametrize("name", SERVICES)
def test_containers_have_no_more_rights_than_they_need(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["restart"] == "unless-stopped"
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_service_runs_as_a_plain_user_on_a_read_only_root() -> None:
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, re.MULTILINE)
    assert SERVICES["service"]["read_only"] is True
    assert "./models:/models:ro" in SERVICES["service"]["volumes"]


def test_settings_given_to_the_service_exist() -> None:
    known = {f"GANYMEDE_{name.upper()}" for name in ServiceConfig.model_fields}
    given = set(re.findall(r"^\s+(GANYMEDE_\w+)=", DOCKERFILE, re.MULTILINE))
    assert {"GANYMEDE_HOST", "GANYMEDE_MODELS"} <= given
    assert given | set(SERVICES["service"]["environment"]) <= known


def test_stopping_waits_for_the_drain() -> None:
    drain_s = ServiceConfig.model_fields["drain_s"].default
    assert int(SERVICES["service"]["stop_grace_period"].removesuffix("s")) > drain_s


def test_mounted_files_exist() -> None:
    mounts = [mount.split(":")[0] for each in SERVICES.values() for mount in each["volumes"]]
    ours = [mount for mount in mounts if mount.startswith("./") and mount != "./models"]
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
        job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]
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
