//! The alerts of the chart: each fires when it should and not before, by `promtool`; what they and the dashboard read
//! exists; each has its line in the docs.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

/// Where the pages are that alerts point to.
const RUNBOOK: &str = "https://github.com/gantry-pkg/gantry/blob/main/docs/observability.md#";

#[derive(Deserialize)]
struct File {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Alert>,
}

/// One alert of the file.
#[derive(Debug, Deserialize)]
pub(crate) struct Alert {
    pub(crate) alert: String,
    pub(crate) expr: String,
    #[serde(rename = "for")]
    after: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

fn read(path: &str) -> Result<String> {
    let path = testkit::tools::workspace().join(path);
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// All alerts of the chart.
pub(crate) fn alerts() -> Result<Vec<Alert>> {
    let file: File = serde_saphyr::from_str(&read("charts/gantry/files/alerts.yaml")?)?;
    Ok(file.groups.into_iter().flat_map(|group| group.rules).collect())
}

/// All queries of the dashboard, with its variables filled in.
pub(crate) fn queries() -> Result<Vec<String>> {
    let dashboard: Value = serde_json::from_str(&read("charts/gantry/files/dashboard.json")?)?;
    let panels = dashboard["panels"].as_array().context("it has panels")?;
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let expr = targets.map(|target| target["expr"].as_str().unwrap_or_default());
    Ok(expr.map(|e| e.replace("$__rate_interval", "5m")).collect())
}

fn promtool(args: &[&str]) -> Result<()> {
    let program = testkit::tools::Tools::find()?.path("promtool");
    let output = Command::new(program).args(args).output()?;
    let said = [output.stdout, output.stderr].map(|out| String::from_utf8_lossy(&out).into_owned());
    ensure!(output.status.success(), "promtool {args:?}:\n{}", said.join("\n"));
    Ok(())
}

/// An alert that fires: with these labels, besides its own.
pub(crate) type Firing<'a> = (&'a str, &'a [(&'a str, &'a str)]);

/// Series by name with labels, and their values in promtool's notation, one a minute.
pub(crate) type Series = Vec<(String, String)>;

/// Runs all alerts over the series. Each of `firing` must fire at that minute, and no other of `named`.
pub(crate) fn judge(series: &Series, minute: u32, named: &[&str], firing: &[Firing<'_>]) -> Result<()> {
    let rules = alerts()?;
    let expected = |name: &str| -> Result<Vec<Value>> {
        let rule = rules.iter().find(|rule| rule.alert == name);
        let rule = rule.with_context(|| format!("there is no alert {name}"))?;
        let fire = firing.iter().filter(|(alert, _)| *alert == name);
        Ok(fire
            .map(|(_, labels)| {
                let mut all = rule.labels.clone();
                all.extend(
                    labels
                        .iter()
                        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
                );
                let filled = |text: &String| {
                    labels.iter().fold(text.clone(), |text, (key, value)| {
                        text.replace(&format!("{{{{ $labels.{key} }}}}"), value)
                    })
                };
                let annotations = rule.annotations.iter().map(|(key, text)| (key, filled(text)));
                json!({"exp_labels": all, "exp_annotations": annotations.collect::<BTreeMap<_, _>>()})
            })
            .collect())
    };
    let mut tests = vec![];
    for name in named {
        tests.push(json!({
            "eval_time": format!("{minute}m"), "alertname": name, "exp_alerts": expected(name)?,
        }));
    }
    let series: Vec<Value> = series
        .iter()
        .map(|(series, values)| json!({"series": series, "values": values}))
        .collect();
    let file = json!({
        "rule_files": [testkit::tools::workspace().join("charts/gantry/files/alerts.yaml")],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": series, "alert_rule_test": tests}],
    });
    let folder = testkit::folder("promtool")?;
    // JSON is YAML.
    let path = folder.path().join("test.yaml");
    std::fs::write(&path, file.to_string())?;
    promtool(&["test", "rules", &path.to_string_lossy()]).with_context(|| format!("{file:#}"))
}

/// What one alert is shown: series that make it fire, at which minute and with which labels, and series that don't.
struct Case {
    alert: &'static str,
    labels: &'static [(&'static str, &'static str)],
    fires: &'static [(&'static str, &'static str)],
    quiet: &'static [(&'static str, &'static str)],
}

/// Long enough for every alert.
const MINUTE: u32 = 100;

const CASES: &[Case] = &[
    Case {
        alert: "GantryAbsent",
        labels: &[],
        fires: &[("up{job=\"other\"}", "1x100")],
        quiet: &[("gantry_build_info{pod=\"a\"}", "1x100")],
    },
    Case {
        alert: "GantryNoLeader",
        labels: &[],
        fires: &[
            ("gantry_leader{pod=\"a\"}", "0x100"),
            ("gantry_leader{pod=\"b\"}", "1x80 0x20"),
        ],
        quiet: &[
            ("gantry_leader{pod=\"a\"}", "0x100"),
            ("gantry_leader{pod=\"b\"}", "1x100"),
        ],
    },
    Case {
        alert: "GantryNotWorking",
        labels: &[],
        fires: &[
            ("gantry_leader{pod=\"a\"}", "1x100"),
            ("gantry_controllers_running{pod=\"a\"}", "0x100"),
        ],
        quiet: &[
            ("gantry_leader{pod=\"a\"}", "1x100"),
            ("gantry_controllers_running{pod=\"a\"}", "1x100"),
            ("gantry_controllers_running{pod=\"b\"}", "0x100"),
        ],
    },
    Case {
        alert: "GantryWritesSuspended",
        labels: &[],
        fires: &[("gantry_writes_suspended{pod=\"a\"}", "0x80 1x20")],
        quiet: &[("gantry_writes_suspended{pod=\"a\"}", "0x97 1x3")],
    },
    Case {
        alert: "GantryQueueStuck",
        labels: &[("controller", "manager")],
        fires: &[
            ("gantry_queue_depth{controller=\"manager\",pod=\"a\"}", "3x100"),
            ("gantry_queue_depth{controller=\"revision\",pod=\"a\"}", "0x100"),
            (
                "gantry_reconciles_total{controller=\"manager\",outcome=\"Await\"}",
                "7x100",
            ),
        ],
        quiet: &[
            ("gantry_queue_depth{controller=\"manager\",pod=\"a\"}", "3x100"),
            (
                "gantry_reconciles_total{controller=\"manager\",outcome=\"Await\"}",
                "0+1x100",
            ),
        ],
    },
    Case {
        alert: "GantryPackageStalled",
        labels: &[("kind", "Provider"), ("name", "p")],
        fires: &[(
            "gantry_package_state{kind=\"Provider\",name=\"p\",state=\"Stalled\",pod=\"a\"}",
            "1x100",
        )],
        quiet: &[(
            "gantry_package_state{kind=\"Provider\",name=\"p\",state=\"Ready\",pod=\"a\"}",
            "1x100",
        )],
    },
    Case {
        alert: "GantryPackageNotReady",
        labels: &[("kind", "Provider"), ("name", "p")],
        // Another leader, and another state, are no new beginning.
        fires: &[
            (
                "gantry_package_state{kind=\"Provider\",name=\"p\",state=\"New\",pod=\"a\"}",
                "1x79",
            ),
            (
                "gantry_package_state{kind=\"Provider\",name=\"p\",state=\"Reconciling\",pod=\"b\"}",
                "_x80 1x20",
            ),
        ],
        quiet: &[
            (
                "gantry_package_state{kind=\"Provider\",name=\"p\",state=\"Reconciling\",pod=\"a\"}",
                "_x80 1x20",
            ),
            (
                "gantry_package_state{kind=\"Provider\",name=\"q\",state=\"AwaitingActivation\",pod=\"a\"}",
                "1x100",
            ),
            (
                "gantry_package_state{kind=\"Provider\",name=\"r\",state=\"Paused\",pod=\"a\"}",
                "1x100",
            ),
        ],
    },
    Case {
        alert: "GantryChecksStale",
        labels: &[("kind", "Provider"), ("name", "p")],
        fires: &[
            (
                "gantry_package_last_check_timestamp_seconds{kind=\"Provider\",name=\"p\"}",
                "0x100",
            ),
            (
                "gantry_package_last_check_timestamp_seconds{kind=\"Provider\",name=\"q\"}",
                "0+60x100",
            ),
        ],
        quiet: &[(
            "gantry_package_last_check_timestamp_seconds{kind=\"Provider\",name=\"p\"}",
            "3000x100",
        )],
    },
    Case {
        alert: "GantryReconcilesFail",
        labels: &[("controller", "revision")],
        fires: &[(
            "gantry_reconciles_total{controller=\"revision\",outcome=\"Backoff\"}",
            "0+1x100",
        )],
        // A burst that is over.
        quiet: &[
            (
                "gantry_reconciles_total{controller=\"revision\",outcome=\"Backoff\"}",
                "0x80 50x20",
            ),
            (
                "gantry_reconciles_total{controller=\"revision\",outcome=\"Await\"}",
                "0+9x100",
            ),
        ],
    },
    Case {
        alert: "GantryWritesForbidden",
        labels: &[("kind", "Event"), ("operation", "create")],
        // Once, for the first time.
        fires: &[(
            "gantry_writes_total{kind=\"Event\",operation=\"create\",outcome=\"Forbidden\"}",
            "_x90 1x10",
        )],
        quiet: &[
            (
                "gantry_writes_total{kind=\"Event\",operation=\"create\",outcome=\"Forbidden\"}",
                "1x100",
            ),
            (
                "gantry_writes_total{kind=\"Event\",operation=\"create\",outcome=\"Written\"}",
                "0+5x100",
            ),
        ],
    },
    Case {
        alert: "GantryWatchFails",
        labels: &[("kind", "ImageConfig")],
        fires: &[("gantry_watch_errors_total{kind=\"ImageConfig\"}", "0+2x100")],
        quiet: &[("gantry_watch_errors_total{kind=\"ImageConfig\"}", "0x90 3x10")],
    },
    Case {
        alert: "GantryObjectsFought",
        labels: &[("kind", "CustomResourceDefinition")],
        fires: &[(
            "gantry_repairs_total{kind=\"CustomResourceDefinition\"}",
            "0+1x100",
        )],
        quiet: &[(
            "gantry_repairs_total{kind=\"CustomResourceDefinition\"}",
            "0x60 4x40",
        )],
    },
    Case {
        alert: "GantryStoreNotKept",
        labels: &[],
        fires: &[
            ("gantry_store_writable{pod=\"a\"}", "1x100"),
            ("gantry_store_writable{pod=\"b\"}", "0x100"),
        ],
        quiet: &[
            ("gantry_store_writable{pod=\"a\"}", "1x100"),
            ("gantry_store_write_failures_total{pod=\"a\"}", "0x100"),
        ],
    },
    Case {
        alert: "GantryStoreNotKept",
        labels: &[],
        fires: &[("gantry_store_write_failures_total{pod=\"a\"}", "0x70 2x30")],
        quiet: &[("gantry_store_write_failures_total{pod=\"a\"}", "2x100")],
    },
    Case {
        alert: "GantryCrdsNewer",
        labels: &[],
        fires: &[
            ("gantry_definitions{pod=\"a\",state=\"newer\"}", "2x100"),
            ("gantry_definitions{pod=\"b\",state=\"newer\"}", "0x100"),
        ],
        quiet: &[
            ("gantry_definitions{pod=\"a\",state=\"newer\"}", "0x60 1x40"),
            ("gantry_definitions{pod=\"a\",state=\"current\"}", "9x100"),
        ],
    },
    Case {
        alert: "GantryCrdsContested",
        labels: &[],
        fires: &[("gantry_definitions{pod=\"a\",state=\"contested\"}", "1x100")],
        quiet: &[("gantry_definitions{pod=\"a\",state=\"contested\"}", "0x95 1x5")],
    },
];

fn series(all: &[(&str, &str)]) -> Series {
    all.iter()
        .map(|(series, values)| ((*series).to_owned(), (*values).to_owned()))
        .collect()
}

#[test]
fn each_alert_fires_when_it_should_and_not_otherwise() -> Result<()> {
    let rules = alerts()?;
    for case in CASES {
        let rule = rules.iter().find(|rule| rule.alert == case.alert);
        let rule = rule.with_context(|| format!("there is no alert {}", case.alert))?;
        judge(
            &series(case.fires),
            MINUTE,
            &[case.alert],
            &[(case.alert, case.labels)],
        )
        .with_context(|| format!("{} should fire", case.alert))?;
        judge(&series(case.quiet), MINUTE, &[case.alert], &[])
            .with_context(|| format!("{} should not fire", case.alert))?;
        if rule.after.is_some() {
            judge(&series(case.fires), 0, &[case.alert], &[])
                .with_context(|| format!("{} should not fire at once", case.alert))?;
        }
    }
    let tested: BTreeSet<&str> = CASES.iter().map(|case| case.alert).collect();
    let all: BTreeSet<&str> = rules.iter().map(|rule| rule.alert.as_str()).collect();
    assert_eq!(tested, all);
    Ok(())
}

#[test]
fn each_alert_has_its_line_in_the_docs() -> Result<()> {
    let docs = read("docs/observability.md")?;
    let mut headings = BTreeSet::new();
    for part in docs.split("\n### ").skip(1) {
        let (heading, text) = part.split_once('\n').context("a heading ends")?;
        let text = text.split("\n## ").next().unwrap_or_default();
        ensure!(text.trim().len() > 50, "nothing is said about {heading}");
        headings.insert(heading.to_owned());
    }
    let mut names = BTreeSet::new();
    for rule in alerts()? {
        let page = rule.annotations.get("runbook_url").cloned().unwrap_or_default();
        assert_eq!(page, format!("{RUNBOOK}{}", rule.alert.to_lowercase()));
        for annotation in ["summary", "description"] {
            ensure!(
                rule.annotations.contains_key(annotation),
                "{} has no {annotation}",
                rule.alert
            );
        }
        let severity = rule.labels.get("severity").map(String::as_str);
        ensure!(
            matches!(severity, Some("critical" | "warning")),
            "{}: {severity:?}",
            rule.alert
        );
        names.insert(rule.alert);
    }
    assert_eq!(headings, names);
    Ok(())
}

#[test]
fn alerts_and_queries_of_the_dashboard_can_be_read() -> Result<()> {
    let path = testkit::tools::workspace().join("charts/gantry/files/alerts.yaml");
    promtool(&[
        "check",
        "rules",
        "--lint=all",
        "--lint-fatal",
        &path.to_string_lossy(),
    ])?;
    let rules: Vec<Value> = queries()?
        .iter()
        .enumerate()
        .map(|(n, expr)| json!({"record": format!("query:{n}"), "expr": expr}))
        .collect();
    ensure!(rules.len() > 20, "the dashboard has queries");
    let folder = testkit::folder("promtool")?;
    let path = folder.path().join("queries.yaml");
    std::fs::write(
        &path,
        json!({"groups": [{"name": "q", "rules": rules}]}).to_string(),
    )?;
    promtool(&["check", "rules", &path.to_string_lossy()])
}

#[test]
fn the_dashboard_is_laid_out() -> Result<()> {
    let dashboard: Value = serde_json::from_str(&read("charts/gantry/files/dashboard.json")?)?;
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in dashboard["panels"].as_array().context("it has panels")? {
        let title = panel["title"].as_str().unwrap_or_default();
        ensure!(!title.is_empty() && ids.insert(panel["id"].as_u64()), "{panel:#}");
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap_or(99);
        for (x, y) in (0..at("w")).flat_map(|x| (0..at("h")).map(move |y| (x, y))) {
            let cell = (at("x") + x, at("y") + y);
            ensure!(
                cell.0 < 24 && taken.insert(cell),
                "{title} covers another panel at {cell:?}"
            );
        }
        for target in panel["targets"].as_array().into_iter().flatten() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
        }
    }
    Ok(())
}
