//! The files in `deploy/`, against the program and against each other: what they name exists, what they
//! configure is accepted. Docker and Kubernetes themselves are not needed.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde::Deserialize;
use serde_json::Value;
use support::{Client, Pool, Proxy, RedisServer, eventually};

/// Where uids that no Debian package has begin; distroless' "nonroot".
const NONROOT: u64 = 65532;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect(path)
}

/// All documents of a YAML file, merge keys applied.
#[track_caller]
fn documents(path: &str) -> Vec<Value> {
    let text = read(path);
    let documents = serde_yaml::Deserializer::from_str(&text).map(|document| {
        let mut value = serde_yaml::Value::deserialize(document).expect(path);
        value.apply_merge().expect(path);
        serde_json::to_value(value).expect("keys are text")
    });
    documents.collect()
}

#[track_caller]
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

#[track_caller]
fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("no number: {value}"))
}

#[track_caller]
fn list(value: &Value) -> Vec<&str> {
    let list = value
        .as_array()
        .unwrap_or_else(|| panic!("no list: {value}"));
    list.iter().map(text).collect()
}

/// Starts the program with a container's arguments, but to check the configuration in place of the file
/// that they name.
#[track_caller]
fn check(configuration: &str, arguments: &[&str]) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("nuthatch.yml");
    fs::write(&file, configuration).expect("the directory is ours");
    let file = file.to_str().expect("UTF-8");
    let named = arguments.iter().filter(|argument| **argument == IN_IMAGE);
    assert_eq!(named.count(), 1, "{arguments:?}");
    let arguments = arguments.iter().map(|&argument| match argument {
        IN_IMAGE => file,
        other => other,
    });
    let Output { status, stderr, .. } = Command::new(Proxy::binary())
        .args(entrypoint().1)
        .args(arguments)
        .arg("-t")
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{said}");
    // The network around the container decides who reaches it.
    let lines = said
        .lines()
        .filter(|line| !line.contains("is a public address"));
    assert_eq!(lines.count(), 1, "it warns: {said}");
}

/// Where containers have the configuration.
const IN_IMAGE: &str = "/etc/nuthatch/nuthatch.yml";

/// The image's program and the arguments that containers cannot replace.
fn entrypoint() -> (String, Vec<String>) {
    let mut words = instruction("ENTRYPOINT");
    (words.remove(0), words)
}

/// The words of the last such instruction of the Dockerfile, in JSON form.
#[track_caller]
fn instruction(name: &str) -> Vec<String> {
    let text = read("deploy/Dockerfile");
    let line = text.lines().rev().find_map(|line| line.strip_prefix(name));
    let line = line.unwrap_or_else(|| panic!("no {name}"));
    serde_json::from_str(line).expect(name)
}

#[test]
fn the_image_is_built_from_what_is_there() {
    let dockerfile = read("deploy/Dockerfile");
    let mut copied = Vec::new();
    for line in dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
    {
        let mut words: Vec<&str> = line.split(' ').collect();
        words.pop();
        if words.iter().any(|word| word.starts_with("--from")) {
            continue;
        }
        copied.extend(words.into_iter().map(str::to_owned));
    }
    copied.sort();
    let ignored = read(".dockerignore");
    let mut sent: Vec<_> = ignored
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    sent.sort_unstable();
    assert_eq!(copied, sent);
    for name in &copied {
        assert!(root().join(name).exists(), "{name}");
    }
    // What the sources include from elsewhere would be missing.
    let outside = Command::new("grep")
        .args([
            "-rnE",
            r#"include_(str|bytes)!\("(\.\./)*(README|conf|deploy|tests)"#,
            "src",
        ])
        .current_dir(root())
        .output()
        .expect("grep runs");
    assert_eq!(String::from_utf8_lossy(&outside.stdout), "");

    let (program, _) = entrypoint();
    assert!(dockerfile.contains(&format!("COPY --from=build /out/nuthatch {program}\n")));
    assert!(dockerfile.contains(&format!("\nUSER {NONROOT}:{NONROOT}\n")));
    let version = |text: &str| -> Vec<u32> {
        let digits = text.split(|c: char| !c.is_ascii_digit() && c != '.').next();
        let parts = digits.expect("split gives one").split('.');
        parts.map(|part| part.parse().expect("a number")).collect()
    };
    let (_, image) = dockerfile.split_once("FROM rust:").expect("a build stage");
    let manifest = manifest();
    assert!(version(image) >= version(text(&manifest["rust_version"])));
    let command = instruction("CMD");
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    check(&read("conf/nuthatch.yml"), &command);
}

/// The package's part of `cargo metadata`.
#[track_caller]
fn manifest() -> Value {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    metadata["packages"][0].clone()
}

#[test]
fn the_debian_package_is_made_of_what_is_there() {
    let manifest = manifest();
    let deb = &manifest["metadata"]["deb"];
    let script = read("deploy/package.sh");
    let mut installed = BTreeSet::new();
    for asset in deb["assets"].as_array().expect("a list") {
        let [source, target, mode] = list(asset)[..] else {
            panic!("{asset}");
        };
        match source.strip_prefix("target/deploy/") {
            // In the script by its name or as one of a loop's.
            Some(made) => {
                let name = made.trim_end_matches("/*.1");
                assert!(script.contains(name), "{name} is not made by package.sh");
            }
            None => assert!(root().join(source).is_file(), "{source}"),
        }
        assert!(["644", "640", "755"].contains(&mode), "{asset}");
        installed.insert(format!("/{target}"));
    }
    for file in list(&deb["conf-files"]) {
        assert!(installed.contains(file), "{file}");
    }
    assert!(installed.contains(IN_IMAGE));
    let units = &deb["systemd-units"];
    let unit = format!(
        "{}/{}.service",
        text(&units["unit-scripts"]),
        text(&units["unit-name"])
    );
    let unit = read(&unit);
    let commands = [
        "ExecStartPre=/usr/bin/nuthatch -t",
        "ExecStart=/usr/bin/nuthatch",
    ];
    for command in commands {
        let line = format!("\n{command} -c {IN_IMAGE}");
        assert!(unit.contains(&line), "{command}: {unit}");
    }
    // The account that is made when the package is installed.
    let postinst = read("deploy/debian/postinst");
    let made = "adduser --system --group --no-create-home --home /nonexistent nuthatch\n";
    assert!(postinst.contains(made));
    assert!(unit.contains("\nUser=nuthatch\nGroup=nuthatch\n"), "{unit}");
    let scripts = text(&deb["maintainer-scripts"]);
    for name in ["postinst", "postrm"] {
        let script = root().join(scripts).join(name);
        let checked = Command::new("sh").arg("-n").arg(&script).status();
        assert!(checked.expect("sh runs").success(), "{name}");
        let script = fs::read_to_string(script).expect("UTF-8");
        assert!(script.contains("#DEBHELPER#"), "{name}");
    }
}

#[test]
fn the_compose_file_fits_itself_and_the_program() {
    let [compose] = &documents("deploy/compose.yml")[..] else {
        panic!("one document");
    };
    let services = compose["services"].as_object().expect("services");
    let configs = compose["configs"].as_object().expect("configs");
    let address = |name: &str| text(&services[name]["networks"]["redis"]["ipv4_address"]);
    let mut addresses = BTreeSet::new();
    for (name, service) in services {
        assert!(addresses.insert(address(name)), "{name}: {}", address(name));
        for other in service["depends_on"].as_array().into_iter().flatten() {
            assert!(services.contains_key(text(other)), "{name}: {other}");
        }
        for config in service["configs"].as_array().into_iter().flatten() {
            assert!(
                configs.contains_key(text(&config["source"])),
                "{name}: {config}"
            );
        }
        let image = text(&service["image"]);
        let pinned = image.contains(':') || service.get("build").is_some();
        assert!(pinned, "{name}: {image}");
    }
    let nuthatch = text(&configs["nuthatch"]["content"]);
    for name in ["nuthatch-1", "nuthatch-2"] {
        check(nuthatch, &list(&services[name]["command"]));
        let build = &services[name]["build"];
        assert!(root().join("deploy").join(text(&build["context"])).exists());
        assert!(root().join(text(&build["dockerfile"])).exists());
    }
    let sentinels = text(&configs["sentinel"]["content"]);
    for (shard, master, replica) in [
        ("shard1", "redis-1a", "redis-1b"),
        ("shard2", "redis-2a", "redis-2b"),
    ] {
        let master = address(master);
        assert!(nuthatch.contains(&format!("- {master}:6379:1 {shard}\n")));
        assert!(sentinels.contains(&format!("sentinel monitor {shard} {master} 6379 2\n")));
        let command = list(&services[replica]["command"]).join(" ");
        assert!(
            command.contains(&format!("--replicaof {master} 6379")),
            "{command}"
        );
    }
    for name in ["sentinel-1", "sentinel-2", "sentinel-3"] {
        assert!(
            nuthatch.contains(&format!("- {}:26379\n", address(name))),
            "{name}"
        );
    }
    // HAProxy's file is used as it is.
    let haproxy = read(&format!("deploy/{}", text(&configs["haproxy"]["file"])));
    for (server, name) in [("nuthatch1", "nuthatch-1"), ("nuthatch2", "nuthatch-2")] {
        let line = format!("server {server} {}:22121\n", address(name));
        assert_eq!(haproxy.matches(&line).count(), 2, "{line}");
    }
    assert!(nuthatch.contains("listen: 0.0.0.0:22121\n"));
    assert!(nuthatch.contains("proxy_protocol: true\n"));
    let grace = text(&services["nuthatch-1"]["stop_grace_period"]);
    let grace: u64 = grace.trim_end_matches('s').parse().expect("seconds");
    assert!(grace * 1000 > shutdown(&list(&services["nuthatch-1"]["command"])));
}

/// `--shutdown-timeout`, in milliseconds.
#[track_caller]
fn shutdown(arguments: &[&str]) -> u64 {
    let mut rest = arguments
        .iter()
        .skip_while(|it| **it != "--shutdown-timeout");
    rest.nth(1).expect("it is given").parse().expect("a number")
}

#[test]
fn the_kubernetes_objects_fit_each_other_and_the_program() {
    let documents = documents("deploy/kubernetes.yaml");
    let object = |kind: &str| {
        let mut found = documents.iter().filter(|it| it["kind"] == kind);
        let object = found.next().unwrap_or_else(|| panic!("no {kind}"));
        assert!(found.next().is_none(), "several {kind}");
        object
    };
    let (map, deployment) = (object("ConfigMap"), object("Deployment"));
    let pod = &deployment["spec"]["template"];
    let labels = &pod["metadata"]["labels"];
    let selectors = [
        &deployment["spec"]["selector"]["matchLabels"],
        &object("Service")["spec"]["selector"],
        &object("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        &pod["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ];
    for selector in selectors {
        assert_eq!(selector, labels);
    }
    let container = &pod["spec"]["containers"][0];
    let arguments = list(&container["args"]);
    let configuration = text(&map["data"]["nuthatch.yml"]);
    check(configuration, &arguments);
    let mount = &container["volumeMounts"][0];
    assert_eq!(
        format!("{}/nuthatch.yml", text(&mount["mountPath"])),
        IN_IMAGE
    );
    let volume = &pod["spec"]["volumes"][0];
    assert_eq!(volume["name"], mount["name"]);
    assert_eq!(volume["configMap"]["name"], map["metadata"]["name"]);

    let ports = container["ports"].as_array().expect("a list");
    let port = |name: &str| {
        let port = ports.iter().find(|port| port["name"] == name);
        number(&port.unwrap_or_else(|| panic!("no port {name}"))["containerPort"])
    };
    assert!(configuration.contains(&format!("listen: 0.0.0.0:{}\n", port("redis"))));
    assert_eq!(port("stats"), 22222);
    assert_eq!(object("Service")["spec"]["ports"][0]["targetPort"], "redis");
    for probe in ["livenessProbe", "readinessProbe"] {
        port(text(&container[probe]["httpGet"]["port"]));
    }

    let sleep = number(&container["lifecycle"]["preStop"]["sleep"]["seconds"]);
    let grace = number(&pod["spec"]["terminationGracePeriodSeconds"]);
    assert!(grace * 1000 > sleep * 1000 + shutdown(&arguments));
    assert_eq!(
        number(&pod["spec"]["securityContext"]["runAsUser"]),
        NONROOT
    );
    let least = number(&object("PodDisruptionBudget")["spec"]["minAvailable"]);
    assert!(number(&deployment["spec"]["replicas"]) > least);
}

/// Of containers with a server to go to.
#[test]
fn what_probes_and_checks_ask_for_is_answered() {
    let server = RedisServer::start();
    let proxy = Proxy::start(&[Pool::new("alpha").servers([&server])]);
    let documents = documents("deploy/kubernetes.yaml");
    let deployment = documents.iter().find(|it| it["kind"] == "Deployment");
    let pod = &deployment.expect("a Deployment")["spec"]["template"]["spec"];
    let path = |probe: &str| text(&pod["containers"][0][probe]["httpGet"]["path"]);
    let paths = [path("livenessProbe"), path("readinessProbe")];
    assert_eq!(paths, ["/health", "/ready"]);
    assert!(read("deploy/haproxy.cfg").contains("option httpchk GET /ready\n"));
    for path in paths {
        eventually(path, || {
            let mut client = Client::connect(proxy.stats_addr());
            // As HAProxy asks.
            client.send(format!("GET {path} HTTP/1.0\r\n\r\n"));
            let answer = client.read_to_end();
            answer.starts_with(b"HTTP/1.0 200") || answer.starts_with(b"HTTP/1.1 200")
        });
    }
}

/// The shipped file with another folder and another way to the process, and the real logrotate.
#[test]
fn a_rotated_log_goes_on_in_a_new_file() {
    let server = RedisServer::start();
    let proxy = Proxy::build(&[Pool::new("alpha").servers([&server])])
        .args(&["-v", "7"])
        .start();
    let log = proxy.log_path();
    let folder = log.parent().expect("a folder");
    let shipped = read("deploy/logrotate");
    let mut file = shipped.clone();
    for (from, to) in [
        (
            "/var/log/nuthatch/*.log",
            log.to_str().expect("UTF-8").to_owned(),
        ),
        (
            "systemctl kill --signal=HUP nuthatch.service 2>/dev/null || true",
            format!("kill -HUP {}", proxy.pid()),
        ),
        // Only root may give files away, and not every machine has the users.
        ("create 0640 nuthatch adm", "nocreate".to_owned()),
    ] {
        assert_eq!(file.matches(from).count(), 1, "{from}");
        file = file.replace(from, &to);
    }
    let conf = folder.join("logrotate.conf");
    fs::write(&conf, file).expect("the folder is ours");
    let program = ["/usr/sbin/logrotate", "logrotate"];
    let program = program.into_iter().find(|path| Path::new(path).exists());
    let output = Command::new(program.unwrap_or("logrotate"))
        .arg("--force")
        .arg("--state")
        .arg(folder.join("state"))
        .arg(&conf)
        .output()
        .expect("logrotate runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    eventually("a new log", || {
        fs::read_to_string(&log).is_ok_and(|text| text.contains("log file reopened"))
    });
    let old = fs::read_to_string(folder.join("nuthatch.log.1")).expect("the old log");
    assert!(old.contains("started, pid"), "{old}");
    drop(proxy.client());
    eventually("lines in the new log", || {
        proxy.log().contains("client accepted")
    });
}
