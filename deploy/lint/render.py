"""Checks deploy/render.yaml against the fields that Render's Blueprint reference names for what is used here."""

import pathlib
import sys

import yaml

COMMON = {"type", "name", "plan", "region", "envVars"}
CONTAINER = COMMON | {
    "runtime", "branch", "repo", "dockerfilePath", "dockerContext", "dockerCommand", "numInstances", "scaling", "disk",
    "autoDeploy", "autoDeployTrigger", "maxShutdownDelaySeconds", "buildFilter", "rootDir", "registryCredential", "image",
}
FIELDS = {
    "web": CONTAINER | {"healthCheckPath", "domains", "preDeployCommand", "ipAllowList"},
    "pserv": CONTAINER | {"preDeployCommand"},
    "worker": CONTAINER | {"preDeployCommand"},
    "keyvalue": COMMON | {"maxmemoryPolicy", "ipAllowList", "previewPlan"},
}
DATABASE = {
    "name", "databaseName", "user", "plan", "region", "postgresMajorVersion", "ipAllowList", "readReplicas",
    "highAvailability", "diskSizeGB", "previewPlan", "storageAutoscalingEnabled",
}
PROPERTIES = {
    "pserv": {"host", "port", "hostport"}, "web": {"host", "port", "hostport"},
    "keyvalue": {"connectionString", "host", "port"},
    "database": {"connectionString", "host", "port", "user", "password", "database"},
}

blueprint = yaml.safe_load(pathlib.Path(sys.argv[1]).read_text())
problems = []


def need(holds, message):
    if not holds:
        problems.append(message)


need(set(blueprint) <= {"services", "databases", "envVarGroups", "projects", "previews", "ungrouped"}, "unknown top key")
services = {service["name"]: service for service in blueprint["services"]}
databases = {database["name"] for database in blueprint.get("databases", [])}
groups = {group["name"]: group for group in blueprint.get("envVarGroups", [])}


def variable(where, entry):
    if "fromGroup" in entry:
        need(entry["fromGroup"] in groups, f"{where}: no group {entry['fromGroup']}")
        return
    key = entry["key"]
    sources = {"value", "generateValue", "sync", "fromService", "fromDatabase"} & set(entry)
    need(len(sources) == 1, f"{where}: {key} needs exactly one source, it has {sorted(sources)}")
    secret = any(word in key for word in ("TOKEN", "PASSWORD", "SECRET", "API_KEY"))
    need(not secret or "value" not in entry, f"{where}: {key} holds a secret in the clear")
    if "value" in entry:
        need(isinstance(entry["value"], str), f"{where}: the value of {key} must be text")
    if source := entry.get("fromService"):
        other = services.get(source["name"])
        need(other and other["type"] == source["type"], f"{where}: {key} is of no service {source['name']}")
        if other and "property" in source:
            need(source["property"] in PROPERTIES[source["type"]], f"{where}: no property {source['property']}")
        if other and "envVarKey" in source:
            keys = {item.get("key") for item in other["envVars"]}
            need(source["envVarKey"] in keys, f"{where}: {source['name']} has no {source['envVarKey']}")
    if source := entry.get("fromDatabase"):
        need(source["name"] in databases, f"{where}: no database {source['name']}")
        need(source["property"] in PROPERTIES["database"], f"{where}: no property {source['property']}")


for name, service in services.items():
    unknown = set(service) - FIELDS.get(service["type"], set())
    need(service["type"] in FIELDS and not unknown, f"{name}: unknown type or fields {sorted(unknown)}")
    if service.get("runtime") == "docker":
        need(pathlib.Path(service["dockerfilePath"]).is_file(), f"{name}: no {service['dockerfilePath']}")
        need(1 <= service.get("maxShutdownDelaySeconds", 30) <= 300, f"{name}: maxShutdownDelaySeconds is 1 to 300")
    if service["type"] == "keyvalue":
        need("ipAllowList" in service, f"{name}: a Key Value needs an ipAllowList")
    for entry in service.get("envVars", []):
        variable(name, entry)
for database in blueprint.get("databases", []):
    unknown = set(database) - DATABASE
    need(not unknown, f"{database['name']}: unknown fields {sorted(unknown)}")
for name, group in groups.items():
    for entry in group["envVars"]:
        variable(name, entry)
roles = {entry["value"] for service in services.values() for entry in service.get("envVars", []) if entry.get("key") == "TIDEMILL__NODE__ROLES"}
need(roles == {"api", "worker"}, f"an API node and a worker are meant, these roles are set: {sorted(roles)}")

print("\n".join(problems))
sys.exit(1 if problems else 0)
