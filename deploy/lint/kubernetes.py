"""Checks built manifests against the strict schemas of a Kubernetes version, and what schemas can't say."""

import sys

import kubernetes_validate
import yaml

version, path = sys.argv[1:]
documents = [document for document in yaml.safe_load_all(open(path, encoding="utf-8")) if document]
problems = []
checked = 0
for document in documents:
    name = f"{document['kind']} {document['metadata']['name']}"
    if document["apiVersion"].startswith("keda.sh/"):
        continue  # lint/keda.mjs has its schema
    try:
        kubernetes_validate.validate(document, version, strict=True)
        checked += 1
    except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
        problems.append(f"{name}: {type(error).__name__} {error}")

names = {(document["kind"], document["metadata"]["name"]) for document in documents}
for document in documents:
    if document["kind"] not in ("Deployment", "StatefulSet"):
        continue
    name = f"{document['kind']} {document['metadata']['name']}"
    pod = document["spec"]["template"]
    labels = pod["metadata"]["labels"]
    for key, value in document["spec"]["selector"]["matchLabels"].items():
        if labels.get(key) != value:
            problems.append(f"{name}: the pods lack the label {key}={value}")
    for other in documents:
        if other["kind"] == "Service" and other["spec"]["selector"].items() <= labels.items():
            ports = {port["name"] for container in pod["spec"]["containers"] for port in container["ports"]}
            for port in other["spec"]["ports"]:
                if port["targetPort"] not in ports:
                    problems.append(f"Service {other['metadata']['name']}: no port {port['targetPort']} at {name}")
    for volume in pod["spec"]["volumes"]:
        if "configMap" in volume and ("ConfigMap", volume["configMap"]["name"]) not in names:
            problems.append(f"{name}: there is no ConfigMap {volume['configMap']['name']}")
    for container in pod["spec"]["containers"]:
        for probe, path_wanted in (("startupProbe", "/health/live"), ("livenessProbe", "/health/live"), ("readinessProbe", "/health/ready")):
            if container.get(probe, {}).get("httpGet", {}).get("path") != path_wanted:
                problems.append(f"{name}: {probe} is not {path_wanted}")
        if container["securityContext"].get("readOnlyRootFilesystem") is not True:
            problems.append(f"{name}: its root file system can be written")
    if pod["spec"]["securityContext"].get("runAsNonRoot") is not True:
        problems.append(f"{name}: may run as root")

if checked < 10:
    problems.append(f"only {checked} manifests found")
print("\n".join(problems))
sys.exit(1 if problems else 0)
