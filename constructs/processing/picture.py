"""A picture of the deployment, in Mermaid, read off the synthesized JSON."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final

_REFERENCE: Final = re.compile(r"\b(data\.)?(aws_[a-z0-9_]+)\.([a-z0-9_]+)\.[a-z_]+")
_BUCKET: Final = "var.s3_bucket_name"
_ALARMS: Final = "aws_cloudwatch_metric_alarm"
_FUNCTION: Final = "aws_lambda_function"
_POLICY: Final = "aws_iam_role_policy"
_DOCUMENT: Final = "aws_iam_policy_document"

Document = Mapping[str, Any]
Edge = tuple[str, str]


def draw_picture(document: Document) -> str:
    """Draw resources as boxes, and what refers to what, or may do what to what, as arrows.

    Parameters
    ----------
    document
        A stack or module as Terraform reads it. The alarms are one box; a role's policies are its arrows, with the
        actions they allow. Resources that a variable turns on are not drawn.

    Returns
    -------
    str
        A flowchart, ending in a newline.
    """
    edges: dict[Edge, set[str]] = defaultdict(set)
    nodes: dict[str, str] = {"bucket": '[("the data lake\'s bucket<br/>(yours)")]'}
    for type_, resources in document["resource"].items():
        for name, body in resources.items():
            if "count" in body:
                continue
            if type_ == _POLICY:
                _add_permissions(edges, body, document)
                continue
            node = _node(type_, name)
            nodes[node] = f'["{_label(type_, name)}"]'
            for target in _find_targets(body):
                edges[node, target].add("")
            if body.get("bucket") == f"${{{_BUCKET}}}":
                edges[node, "bucket"].add("")
    lines = ["flowchart LR"]
    lines += [f"    {node}{shape}" for node, shape in sorted(nodes.items())]
    for (source, target), labels in sorted(edges.items()):
        if source != target:
            text = "<br/>".join(sorted(labels - {""}))
            lines.append(f'    {source} -->|"{text}"| {target}' if text else f"    {source} --> {target}")
    return "\n".join(lines) + "\n"


def _add_permissions(edges: dict[Edge, set[str]], policy: Document, document: Document) -> None:
    """Add an arrow for each action that a role's policy allows on a resource."""
    (role,) = _find_targets({"role": policy["role"]})
    ((_, _, name),) = _find_references(policy["policy"])
    for statement in document["data"][_DOCUMENT][name]["statement"]:
        for resource in statement["resources"]:
            targets = set(_find_targets({"resource": resource})) or {_find_named(resource, document) or "bucket"}
            folder = re.search(r"/(\w+)/\*$", resource)
            suffix = f" {folder[1]}/" if folder else ""
            for target in targets:
                edges[role, target].update(f"{action}{suffix}" for action in statement["actions"])


def _find_targets(body: Document) -> Iterator[str]:
    """Find the managed resources that a body refers to, outside its lifecycle and its order."""
    uses = {name: value for name, value in body.items() if name not in ("//", "depends_on", "lifecycle")}
    for is_data, type_, name in _find_references(json.dumps(uses)):
        if not is_data:
            yield _node(type_, name)


def _find_named(arn: str, document: Document) -> str | None:
    """Find the managed resource whose name an ARN has."""
    for type_, resources in document["resource"].items():
        for name, body in resources.items():
            named = body.get("function_name" if type_ == _FUNCTION else "name", "")
            if named and re.search(rf"[:/]{re.escape(named)}(:\*)?$", arn):
                return _node(type_, name)
    return None


def _find_references(text: str) -> list[tuple[str, str, str]]:
    return sorted({(match[1] or "", match[2], match[3]) for match in _REFERENCE.finditer(text)})


def _node(type_: str, name: str) -> str:
    return "alarms" if type_ == _ALARMS else f"{type_}.{name}".replace(".", "_")


def _label(type_: str, name: str) -> str:
    return f"{_ALARMS}<br/>(all of them)" if type_ == _ALARMS else f"{type_}<br/>{name}"
