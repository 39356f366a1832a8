"""The manifests agree with service, image and rules; kubectl and the schemas accept them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from service import __version__
from service.config import ServiceConfig
from service.supervisor import GRACE_S
from tests.deploy.exposition import ROOT, alerts, faults

FOLDER = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("cpu", "gpu")
SCHEMAS = "1.31"  # of Kubernetes, in kubernetes-validate
VALIDATE = shutil.which("kubernetes-validate", path=str(Path(sys.executable).parent))


def read(path: str) -> dict[str, Any]:
    """Return one manifest of the base."""
    found: dict[str, Any] = yaml.safe_load((FOLDER / path).read_text("utf-8"))
    return found


def kustomize(overlay: str) -> str:
    """Return what kubectl would apply."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    command = ["kubectl", "kustomize", str(FOLDER / "overlays" / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


POD = read("base/deployment.yaml")["spec"]["template"]["spec"]
[CONTAINER] = POD["containers"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlay_brings_everything_into_one_namespace(overlay: str) -> None:
    made = {each["kind"]: each for each in yaml.safe_load_all(kustomize(overlay))}
    files = read("base/kustomization.yaml")["resources"]
    assert len(made) == len(files) == len(list((FOLDER / "base").glob("*.yaml"))) - 1
    assert {each["metadata"].get("namespace", "ganymede") for each in made.values()} == {"ganymede"}
    selector = {"app.kubernetes.io/name": "ganymede"}
    pod = made["Deployment"]["spec"]["template"]
    assert selector.items() <= pod["metadata"]["labels"].items()
    assert made["Service"]["spec"]["selector"] == selector
    for kind in ("Deployment", "PodDisruptionBudget", "ServiceMonitor"):
        assert made[kind]["spec"]["selector"]["matchLabels"] == selector
    assert made["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == selector
    [container] = pod["spec"]["containers"]
    assert container["resources"]["limits"].keys() >= {"cpu", "memory"}
    image, _, tag = container["image"].partition(":")
    assert image == {"cpu": "ganymede/service", "gpu": "ganymede/service-gpu"}[overlay]
    assert tag == __version__
    known = {f"GANYMEDE_{name.upper()}" for name in ServiceConfig.model_fields}
    assert {each["name"] for each in container["env"]} <= known


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.skipif(VALIDATE is None, reason="kubernetes-validate is not installed")
def test_schemas_accept_the_overlay(overlay: str, tmp_path: Path) -> None:
    file = tmp_path / "manifests.yaml"
    file.write_text(kustomize(overlay))
    command = [str(VALIDATE), "--strict", "-k", SCHEMAS, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_stopping_waits_for_the_drain() -> None:
    pause_s = int(CONTAINER["lifecycle"]["preStop"]["exec"]["command"][1])
    worst_s = 2 * ServiceConfig.model_fields["drain_s"].default + GRACE_S
    assert POD["terminationGracePeriodSeconds"] > pause_s + worst_s


@pytest.mark.parametrize(("overlay", "spare", "missing"), [("cpu", 1, 0), ("gpu", 0, 1)])
def test_update_waits_for_no_gpu_that_is_taken(overlay: str, spare: int, missing: int) -> None:
    [deployment] = [
        each for each in yaml.safe_load_all(kustomize(overlay)) if each["kind"] == "Deployment"
    ]
    assert deployment["spec"]["strategy"] == {
        "rollingUpdate": {"maxSurge": spare, "maxUnavailable": missing}
    }


def test_pod_has_no_more_rights_than_it_needs() -> None:
    dockerfile = (ROOT / "deploy" / "service.Dockerfile").read_text("utf-8")
    user = POD["securityContext"]["runAsUser"]
    assert f"USER {user}:{POD['securityContext']['runAsGroup']}" in dockerfile
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["automountServiceAccountToken"] is False


def test_variables_of_kubernetes_are_no_settings() -> None:
    # A Service of this name would give each pod GANYMEDE_PORT=tcp://..., which is a setting.
    assert read("base/service.yaml")["metadata"]["name"] == "ganymede"
    assert POD["enableServiceLinks"] is False


def test_scrapes_are_of_the_job_that_the_rules_expect() -> None:
    assert any('job="ganymede"' in alert["expr"] for alert in alerts())
    assert read("base/service.yaml")["metadata"]["name"] == "ganymede"
    [endpoint] = read("base/monitor.yaml")["spec"]["endpoints"]
    [port] = read("base/service.yaml")["spec"]["ports"]
    assert endpoint["port"] == port["name"]
    assert port["targetPort"] == CONTAINER["ports"][0]["name"]
    interval = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text("utf-8"))
    assert endpoint["interval"] == interval["global"]["scrape_interval"]


def test_how_many_replicas_the_autoscaler_alone_says() -> None:
    assert "replicas" not in read("base/deployment.yaml")["spec"]
    assert read("base/autoscaler.yaml")["spec"]["minReplicas"] >= 2


def test_autoscaler_reads_what_the_adapter_provides() -> None:
    [rule] = read("prometheus-adapter.yaml")["rules"]["custom"]
    [metric] = read("base/autoscaler.yaml")["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    query = rule["metricsQuery"].replace("<<.LabelMatchers>>", 'instance=~".*"')
    assert faults(query.replace("<<.GroupBy>>", "instance")) == []
    assert faults(rule["seriesQuery"].replace("namespace", "job").replace("pod", "instance")) == []
