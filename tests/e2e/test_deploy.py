"""What lies in `deploy/`: every configuration passes `check`, and manifests fit the program."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import warnings

import pytest
import yaml

import kit

DEPLOY = kit.REPOSITORY / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
COMPOSE = DEPLOY / "compose" / "compose.yaml"
UNIT = DEPLOY / "systemd" / "lakehose.service"
ENTRYPOINT = "/usr/local/bin/lakehose"
VOLUME = "/var/lib/lakehose"


def documents(file):
    return [document for document in yaml.safe_load_all(file.read_text()) if document]


def configurations():
    """Every configuration, by what names it: the examples, compose's, and those in ConfigMaps."""
    files = [*sorted((DEPLOY / "examples").glob("*.yaml")), DEPLOY / "compose" / "lakehose.yaml"]
    files.append(DEPLOY / "default.yaml")
    found = {str(file.relative_to(DEPLOY)): file.read_text() for file in files}
    for file in MANIFESTS:
        for document in documents(file):
            if document["kind"] == "ConfigMap":
                found[f"kubernetes/{file.name}"] = document["data"]["lakehose.yaml"]
    return found


def grace_seconds():
    """How long a stop of the program delivers unless the settings say otherwise."""
    schema = json.loads((kit.REPOSITORY / "schemas" / "lakehose.schema.json").read_text())
    server = schema["properties"]["server"]["properties"]
    return int(server["shutdown_deadline"]["default"].removesuffix(" s"))


@pytest.mark.parametrize("name", list(configurations()))
def test_each_configuration_passes_check(name, tmp_path):
    text = configurations()[name]
    secrets = dict.fromkeys(re.findall(r"\$\{env:(\w+)\}", text), "a-secret")
    for number, path in enumerate(re.findall(r"\$\{file:([^}]+)\}", text)):
        secret = tmp_path / f"secret-{number}"
        secret.write_text("a-secret\n")
        text = text.replace(path, str(secret))
    file = tmp_path / "lakehose.yaml"
    # What lies in the volume lies in a folder of the test.
    file.write_text(text.replace(VOLUME, str(tmp_path / "volume")))
    # Whoever copies one has neither the repository around it nor anything made before.
    assert "yaml-language-server: $schema=../" not in text
    done = kit.run("check", file, secrets=secrets, cwd=tmp_path)
    assert done.returncode == 0, done
    assert not (tmp_path / "volume").exists() and not (tmp_path / "lakehose").exists()


def pods():
    for file in MANIFESTS:
        for document in documents(file):
            if document["kind"] in ("StatefulSet", "Deployment"):
                yield pytest.param(document, documents(file), id=file.stem)


def lakehose_of(pod):
    """The container of Lakehose, and whether it is a sidecar."""
    sidecars = [each for each in pod.get("initContainers", []) if "lakehose" in each["image"]]
    mains = [each for each in pod["containers"] if "lakehose" in each["image"]]
    [container] = sidecars + mains
    return container, bool(sidecars)


@pytest.mark.parametrize("workload, neighbours", list(pods()))
def test_each_pod_fits_the_program(workload, neighbours):
    spec = workload["spec"]
    labels, pod = spec["template"]["metadata"]["labels"], spec["template"]["spec"]
    assert spec["selector"]["matchLabels"] == labels
    container, is_sidecar = lakehose_of(pod)
    [configuration] = [each for each in neighbours if each["kind"] == "ConfigMap"]
    [service] = [each for each in neighbours if each["kind"] == "Service"]
    settings = yaml.safe_load(configuration["data"]["lakehose.yaml"])

    # A stop has the time that it takes.
    assert pod["terminationGracePeriodSeconds"] >= grace_seconds() + 30
    assert not is_sidecar or container["restartPolicy"] == "Always"

    # Nobody's privileges, nothing to write to but the volume.
    security = {**pod["securityContext"], **container["securityContext"]}
    assert security["runAsNonRoot"] and security["runAsUser"] == 65532 and security["fsGroup"] == 65532
    assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert set(mounts) == {VOLUME, "/etc/lakehose"} and mounts["/etc/lakehose"]["readOnly"]
    claims = {claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]}
    assert mounts[VOLUME]["name"] in claims, "an emptyDir goes with the pod"
    assert settings["data_dir"].startswith(f"{VOLUME}/")
    [volume] = [each for each in pod["volumes"] if each["name"] == mounts["/etc/lakehose"]["name"]]
    assert volume["configMap"]["name"] == configuration["metadata"]["name"]
    assert container["args"] == ["serve", "--config", "/etc/lakehose/lakehose.yaml"]

    # Ports and probes lead to what the program serves.
    ports = {each["name"]: each["containerPort"] for each in container.get("ports", [])}
    admin_host, admin_port = settings["server"]["admin"].rsplit(":", 1)
    listen_host, listen_port = settings["server"]["listen"].rsplit(":", 1)
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container.get(kind)
        if probe and "httpGet" in probe:
            assert ports[probe["httpGet"]["port"]] == int(admin_port) and admin_host == "0.0.0.0"
            assert probe["httpGet"]["path"] in ("/health", "/ready")
        elif probe:
            assert probe["exec"]["command"] == [ENTRYPOINT, "ready"], probe
            assert settings["server"]["admin"] == "127.0.0.1:9573", "the default of the command"
    assert "startupProbe" in container and "readinessProbe" in container
    if is_sidecar:
        [producer] = pod["containers"]
        variables = {each["name"]: each["value"] for each in producer["env"]}
        assert variables["AWS_ENDPOINT_URL_FIREHOSE"] == f"http://{settings['server']['listen']}"
        assert listen_host == "127.0.0.1"
    else:
        assert ports["firehose"] == int(listen_port) and listen_host == "0.0.0.0"
        [port] = service["spec"]["ports"]
        assert port["port"] == int(listen_port) and port["targetPort"] in ports
    assert service["spec"]["selector"].items() <= labels.items()
    assert spec["serviceName"] == service["metadata"]["name"]


def test_the_paths_that_probes_ask_are_served(new_lakehose, folder_lake):
    identity = kit.Identity("acme", ("clicks",))
    streams = {"clicks": kit.stream_of({"columns": {"id": "string"}})}
    server = new_lakehose([identity], folder_lake, streams).start()
    for path in ("/health", "/ready"):
        assert kit.http("GET", f"{server.admin}{path}")[0] == 200
    assert server.run("ready", "--admin", server.admin).returncode == 0


def test_the_compose_file_fits_the_program_and_itself():
    compose = yaml.safe_load(COMPOSE.read_text())
    services = compose["services"]
    lakehose = services["lakehose"]
    settings = yaml.safe_load((DEPLOY / "compose" / "lakehose.yaml").read_text())
    dockerfile = COMPOSE.parent / lakehose["build"]["context"] / lakehose["build"]["dockerfile"]
    assert dockerfile.resolve() == DEPLOY / "Dockerfile"
    assert lakehose["read_only"] and lakehose["cap_drop"] == ["ALL"]
    assert int(lakehose["stop_grace_period"].removesuffix("s")) >= grace_seconds() + 30
    for service in services.values():
        for other in service.get("depends_on", {}):
            assert other in services
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            is_there = (COMPOSE.parent / source).exists() if source.startswith(".") else source in compose["volumes"]
            assert is_there, mount
    # The keys and the names that one service gives another.
    [identity] = settings["identities"]
    store = settings["stores"]["lake"]
    assert services["send"]["environment"]["AWS_ACCESS_KEY_ID"] == identity["access_key"]
    assert services["s3"]["environment"]["MINIO_ROOT_USER"] == store["access_key"]
    assert services["send"]["environment"]["AWS_ENDPOINT_URL_FIREHOSE"] == "http://lakehose:4573"
    [stream] = settings["delivery_streams"]
    assert stream in services["send"]["command"]
    assert store["endpoint"] == "http://s3:9000" and f"lake/{store['url'].removeprefix('s3://')}" in (
        services["bucket"]["command"][0]
    )
    named = set(re.findall(r"\$\{env:(\w+)\}", (DEPLOY / "compose" / "lakehose.yaml").read_text()))
    assert named == set(lakehose["environment"])
    pinned = (kit.REPOSITORY / "tests" / "requirements.txt").read_text()
    assert re.search(r"duckdb==\S+", services["query"]["command"][-1])[0] in pinned
    compile((DEPLOY / "compose" / "query.py").read_text(), "query.py", "exec")


def test_the_unit_is_one_that_systemd_understands(tmp_path):
    lines = (line for line in UNIT.read_text().splitlines() if "=" in line and not line.startswith("#"))
    unit = dict(line.split("=", 1) for line in lines)
    assert int(unit["TimeoutStopSec"]) >= grace_seconds() + 30
    assert "-HUP $MAINPID" in unit["ExecReload"] and unit["RestartPreventExitStatus"] == "78"
    assert unit["StateDirectory"] == pathlib.Path(VOLUME).name and unit["DynamicUser"] == "yes"
    assert unit["ExecStart"] == f"{ENTRYPOINT} serve --config /etc/lakehose/lakehose.yaml"
    if shutil.which("systemd-analyze") is None:
        warnings.warn("NOT RUN: there is no systemd-analyze to verify the unit with", stacklevel=1)
        return
    file = tmp_path / UNIT.name
    file.write_text(UNIT.read_text().replace(ENTRYPOINT, str(kit.LAKEHOSE)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", file],
        capture_output=True, text=True, timeout=60, env=dict(os.environ), check=False,
    )
    # The machine's own units may have faults; ours is named by its file.
    told = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert not told, told
