"""The JSON Schema of the YAML file accepts what `check` accepts, and refuses what it can tell."""

import json
import re
import textwrap

import jsonschema
import kit
import pytest
import yaml

SCHEMA = json.loads((kit.REPOSITORY / "schemas/lakehose.schema.json").read_text())
VALIDATOR = jsonschema.validators.validator_for(SCHEMA)(SCHEMA)
# Faults of relations, of bounds, of what lies outside the file, and of YAML itself. PyYAML lets the
# last of two equal keys and the first of two documents stand.
BEYOND_A_SCHEMA = {
    "anchors_and_tags",
    "duplicate_key",
    "error_output_type",
    "errors_in_data",
    "hook_keys",
    "identity_proofs",
    "json_keys",
    "late_overlap",
    "nested_prefix",
    "object_sizes",
    "open_listener",
    "mixed_prefixes",
    "partitions",
    "prefix_climbs",
    "shared_prefix",
    "shared_stream",
    "shared_table",
    "syntax",
    "tenant_without_identities",
    "tenants_in_one_folder",
    "tenants_missing",
    "two_documents",
    "unknown_expression",
    "unknown_names",
    "unset_variable",
}


def examples():
    """The files of deploy/ that configure Lakehose, rather than those who run it."""
    for file in sorted((kit.REPOSITORY / "deploy").rglob("*.yaml")):
        for document in yaml.safe_load_all(file.read_text()):
            if isinstance(document, dict) and "delivery_streams" in document:
                yield pytest.param(document, id=file.name)


def faulty():
    for file in sorted((kit.REPOSITORY / "tests/faulty").glob("*.yaml")):
        if file.stem not in BEYOND_A_SCHEMA:
            yield pytest.param(file, id=file.stem)


def test_the_schema_is_one():
    VALIDATOR.check_schema(SCHEMA)


@pytest.mark.parametrize("document", list(examples()))
def test_every_example_fits_the_schema(document):
    assert [error.message for error in VALIDATOR.iter_errors(document)] == []


def readme():
    """README's configurations: the first one whole, the others in its place or in its stream."""
    text = (kit.REPOSITORY / "README.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    first, *others = (yaml.safe_load(textwrap.dedent(block)) for block in blocks)
    yield pytest.param(first, id="first")
    for number, other in enumerate(others, 2):
        if set(other) <= set(SCHEMA["properties"]):
            yield pytest.param(first | other, id=f"block-{number}")
        else:
            (stream,) = first["delivery_streams"].values()
            yield pytest.param(first | {"delivery_streams": {"s": stream | other}}, id=f"block-{number}")


@pytest.mark.parametrize("document", list(readme()))
def test_every_configuration_of_the_readme_fits_the_schema(document):
    assert [error.message for error in VALIDATOR.iter_errors(document)] == []


@pytest.mark.parametrize(
    "kind", ["binary", "BINARY", "tinyint", "char(3)", "array<binary>", "struct<a:int>", "timestamp"]
)
def test_every_type_of_a_column_fits(kind, tmp_path):
    streams = {"clicks": kit.stream_of({"columns": {"a": kind}})}
    settings = kit.settings_of(tmp_path, [kit.Identity("acme", ("clicks",))], kit.FolderLake(tmp_path), streams)
    assert [error.message for error in VALIDATOR.iter_errors(settings)] == []


@pytest.mark.parametrize("file", list(faulty()))
def test_what_has_a_fault_of_its_own_does_not_fit(file):
    assert not VALIDATOR.is_valid(yaml.safe_load(file.read_text()))


def test_what_the_end_to_end_tests_serve_fits(tmp_path):
    settings = kit.settings_of(
        tmp_path,
        [kit.Identity("acme", ("clicks",))],
        kit.FolderLake(tmp_path),
        {"clicks": kit.stream_of({"columns": {"a": "map<string,decimal(10,2)>", "b": "BIGINT"}})},
    )
    document = yaml.safe_load(json.dumps(settings))
    assert [error.message for error in VALIDATOR.iter_errors(document)] == []


def test_the_command_prints_the_file():
    done = kit.run("schema")
    assert done.returncode == 0 and json.loads(done.stdout) == SCHEMA
