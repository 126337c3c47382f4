use std::fs;
use std::path::Path;

use clap::Parser;

use super::*;

/// The arguments as the command line reads them.
#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: SimulateArgs,
}

const POOL: &str = "apiVersion: bullpen.dev/v1alpha1\nkind: InstancePool\nmetadata: {name: ci}\nspec:\n  targetSize: 3\n  \
                    maxSize: 100\n  launchConfigs: [{name: a}]\n";

fn line(folder: &Path, more: &[&str]) -> Result<SimulateArgs, clap::Error> {
    let pool = folder.join("pool.yaml");
    fs::write(&pool, POOL).expect("a file");
    let pool = pool.to_str().expect("a path");
    Line::try_parse_from([&["simulate", "--pool", pool], more].concat()).map(|line| line.args)
}

#[test]
fn sizes_and_the_loop_are_compared_and_the_same_seed_gives_the_same_table() {
    let folder = tempfile::tempdir().expect("a folder");
    let flags =
        ["--poisson", "240", "--hold-seconds", "60", "--claims", "500", "--sweep", "targetSize=6..8", "--compare-loop"];
    let args = line(folder.path(), &flags).expect("arguments");
    let cases = played(&args).expect("cases").cases;
    let rows: Vec<_> = cases.iter().map(|case| (case.policy.as_str(), case.target_size)).collect();
    assert_eq!(rows[..3], [("ci", 6), ("ci", 7), ("ci", 8)]);
    // The claims of two minutes and a half are about ten.
    assert!(
        rows[3..6] == [("loop of 60 s", 6), ("loop of 60 s", 7), ("loop of 60 s", 8)] && rows.len() == 7,
        "{rows:?}"
    );
    assert!(cases[2].hit_percent() > cases[0].hit_percent() && cases[2].price() > cases[0].price());
    assert!(cases[0].hit_percent() > cases[3].hit_percent());
    assert_eq!(table(&cases, 99.0), table(&played(&args).expect("cases").cases, 99.0));
}

#[test]
fn a_trace_is_played_at_its_price_and_drawn() {
    let folder = tempfile::tempdir().expect("a folder");
    let (trace, drawing) = (folder.path().join("trace.csv"), folder.path().join("sizes.svg"));
    let claims: Vec<String> = (0..300).map(|n| format!("{},{}", n * 9_000, 60_000 + n * 100)).collect();
    fs::write(&trace, format!("arrival_ms,duration_ms\n{}\n", claims.join("\n"))).expect("a file");
    let paths = [trace.to_str().expect("a path"), drawing.to_str().expect("a path")];
    let args = line(folder.path(), &["--trace", paths[0], "--hourly-price", "a=0.5", "--svg", paths[1], "-o", "json"]);
    let args = args.expect("arguments");
    execute(&args).expect("an outcome");
    assert!(fs::read_to_string(&drawing).expect("a drawing").starts_with("<svg "));
    let case = played(&args).expect("cases").cases.remove(0);
    assert_eq!(case.outcome.claims.arrived, 300);
    assert!((case.cost.expect("a cost") - 0.5 * case.outcome.hours.total).abs() < 1e-9);
}

#[test]
fn what_cannot_be_used_is_named_with_the_file_or_flag() {
    let folder = tempfile::tempdir().expect("a folder");
    let bad = folder.path().join("bad.csv");
    fs::write(&bad, "arrival_ms,duration_ms\n1,soon\n").expect("a file");
    let bad = bad.to_str().expect("a path");
    let drawn = ["--poisson", "60", "--hold-seconds", "60", "--claims", "5"];
    let cases: [(&[&str], &str); 9] = [
        (&["--trace", bad], "bad.csv (--trace): line 2: duration_ms: is \"soon\""),
        (&["--trace", "/nowhere"], "cannot read /nowhere (--trace)"),
        (
            &["--sweep", "targetSize=100..101"],
            "pool.yaml (--pool): spec.maxSize: is 100, below the targetSize 101 to try",
        ),
        (&["--hourly-price", "b=1"], "--hourly-price: no pool has a launch config b"),
        (&["--hourly-price", "a=1", "--hourly-price", "a=2"], "--hourly-price: is given twice for launch config a"),
        (&["--hourly-price", "1", "--hourly-price", "2"], "--hourly-price: is given twice for all launch configs"),
        (&["--stopped-hourly-price", "1"], "--stopped-hourly-price: "),
        (&["--pool", "/dev/zero"], "cannot read /dev/zero (--pool): has more than"),
        (&["--boot-seconds", "90", "--boot-p99-seconds", "60"], "--boot-p99-seconds: is 60, below --boot-seconds 90"),
    ];
    for (flags, expected) in cases {
        let given = if flags[0] == "--trace" { flags.to_vec() } else { [&drawn, flags].concat() };
        let error = played(&line(folder.path(), &given).expect("arguments")).expect_err("it cannot be used");
        assert!(error.contains(expected), "{error}");
    }
    let slow = ["--bursts", "0,0.01,100000000,1", "--hold-seconds", "60", "--claims", "5"];
    let error = played(&line(folder.path(), &slow).expect("arguments")).expect_err("it never ends");
    assert!(error.starts_with("--claims: 5 claims come in ") && error.ends_with("draw fewer"), "{error}");
    for ignored in [["--hold-seconds", "60"], ["--claims", "5"]] {
        let error = line(folder.path(), &[&["--trace", bad], ignored.as_slice()].concat()).expect_err("a trace has it");
        assert_eq!(error.kind(), clap::error::ErrorKind::ArgumentConflict, "{error}");
    }
    let none = line(folder.path(), &[]).expect_err("no claims").to_string();
    assert!(none.contains("--trace <FILE>|--prometheus <FILE>|--poisson"), "{none}");
}

#[test]
fn a_number_below_zero_is_refused_with_its_range() {
    let folder = tempfile::tempdir().expect("a folder");
    let load = ["--poisson", "240", "--hold-seconds", "60", "--claims", "300"];
    for flag in ["--hourly-price", "--goal-percent", "--boot-seconds", "--creates-per-second"] {
        let refused = line(folder.path(), &[&load[..], &[flag, "-1"]].concat()).expect_err("refused").to_string();
        assert!(refused.contains(flag) && refused.contains("must be between"), "{refused}");
    }
}

#[test]
fn machines_are_bought_no_faster_than_the_operator_buys_by_the_launch_configs_of_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    // Ten claims a second, and EC2 sells two machines a second.
    let load = ["--poisson", "36000", "--hold-seconds", "60", "--claims", "4000"];
    let args = line(folder.path(), &load).expect("arguments");
    let wide = "maxSize: 5000\n  provisioning: {maxConcurrentCreates: 1000, failureThreshold: 100}";
    let most_wait = |launch_config: &str| {
        fs::write(&args.pool[0], format!("{POOL}{launch_config}").replace("maxSize: 100", wide)).expect("a file");
        played(&args).expect("cases").cases[0].outcome.waits.p95
    };
    let on_ec2 = "---\napiVersion: bullpen.dev/v1alpha1\nkind: LaunchConfig\nmetadata: {name: a}\nspec: {region: r, zone: z, \
                  instanceType: t, image: i, aws: {subnetId: subnet-12345678}}\n";
    let (free, limited) = (most_wait(""), most_wait(on_ec2));
    assert!(limited > free + 50.0, "{free} and {limited} s");
}

/// What is printed for these flags, for the pool of this file.
fn printed(folder: &Path, pool: &str, flags: &[&str]) -> String {
    let load = ["--poisson", "240", "--hold-seconds", "60", "--claims", "300"];
    let args = line(folder, &[&load[..], flags].concat()).expect("arguments");
    fs::write(&args.pool[0], pool).expect("a file");
    text(&args, &played(&args).expect("cases")).expect("a text")
}

const CONFIG: &str = "---\napiVersion: bullpen.dev/v1alpha1\nkind: LaunchConfig\nmetadata: {name: a}\nspec: {region: r, zone: z, \
                      instanceType: t, image: i, hourlyPrice: '0.5', simulated: {endpoint: 'http://c', bootMilliseconds: 30000, \
                      bootJitterPercent: 5}}\n";

#[test]
fn what_is_assumed_is_printed_with_the_flag_that_changes_it_and_what_is_given_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let standby = POOL.replace("maxSize: 100", "maxSize: 100\n  standby: {size: 2, mode: Hibernated}");
    let bare = printed(folder.path(), &standby, &[]);
    for expected in [
        "without prices, hours of machines are compared instead of costs (--hourly-price)",
        "machines boot in 90 s, and up to 20 % less or more (--boot-seconds, --boot-jitter-percent, --boot-p99-seconds)",
        "launch config a is not in ",
        "machines are bought as fast as they are wanted (--creates-per-second, --creates-at-once)",
        "ready again in 50 % of a boot, and takes 30 s to stop (--resume-percent, --stop-seconds)",
        "what the operator sees of machines is up to 5 s old (--list-milliseconds)",
        "all that is drawn depends on seed 1 (--seed)",
    ] {
        assert!(bare.contains(expected), "{expected}\nis not in\n{bare}");
    }
    let whole = format!("{POOL}{CONFIG}");
    let told = printed(folder.path(), &whole, &["--seed", "7", "--list-milliseconds", "200", "--quota", "9"]);
    for not in ["machines boot", "is not in", "as fast as", "standby", "without prices"] {
        assert!(!told.contains(not), "{not} is in\n{told}");
    }
    for expected in ["up to 200 ms old", "a quota of 9 machines", "seed 7"] {
        assert!(told.contains(expected), "{expected}\nis not in\n{told}");
    }
    let partly = printed(folder.path(), POOL, &["--boot-seconds", "40"]);
    assert!(partly.contains("boots take up to 20 % less or more") && !partly.contains("machines boot in"), "{partly}");
}

#[test]
fn json_and_yaml_have_the_same_with_what_is_assumed() {
    let folder = tempfile::tempdir().expect("a folder");
    let json: serde_json::Value =
        serde_json::from_str(&printed(folder.path(), POOL, &["-o", "json"])).expect("a document");
    let yaml: serde_json::Value =
        serde_saphyr::from_str(&printed(folder.path(), POOL, &["-o", "yaml"])).expect("a document");
    let seed = json["assumed"].as_array().and_then(|all| all.last()).cloned().unwrap_or_default();
    assert_eq!(seed, serde_json::json!({ "text": "all that is drawn depends on seed 1", "flags": ["--seed"] }));
    assert_eq!((&yaml["assumed"], &yaml["cheapest"]), (&json["assumed"], &json["cheapest"]));
    let wrong = line(folder.path(), &["--poisson", "1", "--hold-seconds", "1", "-o", "wide"]).expect_err("unknown");
    assert!(wrong.to_string().contains("[possible values: table, json, yaml]"), "{wrong}");
}

#[test]
fn a_pool_that_finds_its_size_itself_is_played_once_beside_the_sizes_to_try() {
    let folder = tempfile::tempdir().expect("a folder");
    let auto = POOL.replace("maxSize: 100", "maxSize: 100\n  autosize: {mode: Auto}");
    let load = ["--poisson", "240", "--hold-seconds", "60", "--claims", "300", "--sweep", "targetSize=2..4"];
    let args = line(folder.path(), &load).expect("arguments");
    fs::write(&args.pool[0], auto).expect("a file");
    let cases = played(&args).expect("cases").cases;
    let rows: Vec<_> = cases.iter().map(|case| (case.policy.as_str(), case.target_size, case.sizes_itself)).collect();
    assert_eq!(rows, [("ci", 2, false), ("ci", 3, false), ("ci", 4, false), ("ci autosize", 3, true)]);
    let hits: Vec<_> = cases.iter().map(|case| case.outcome.claims.hits).collect();
    assert!(hits[0] < hits[2], "each size is another one: {hits:?}");
}

/// A pool with a schedule for a batch at two.
fn with_schedule() -> String {
    let schedule = "schedules: [{name: batch, cron: '50 1 * * *', durationSeconds: 1800, targetSize: 40}]";
    POOL.replace("targetSize: 3", "targetSize: 0").replace("maxSize: 100", &format!("maxSize: 100\n  {schedule}"))
}

/// How many claims of a trace with a batch of 40 at this millisecond found a ready machine, and what was assumed of its start.
fn batch_at(folder: &Path, milliseconds: i64, flags: &[&str]) -> (usize, Vec<String>, Timestamp) {
    let trace = folder.join("trace.csv");
    let claims: Vec<String> = (0..40).map(|n| format!("{},60000", milliseconds + n * 1_000)).collect();
    fs::write(&trace, format!("arrival_ms,duration_ms\n{}\n", claims.join("\n"))).expect("a file");
    let args = line(folder, &[&["--trace", trace.to_str().expect("a path")], flags].concat()).expect("arguments");
    fs::write(&args.pool[0], with_schedule()).expect("a file");
    let played = played(&args).expect("cases");
    let lines = assumed::lines(&played.assumed);
    let of_start = lines.lines().filter(|line| line.contains("--starts-at")).map(|line| line.trim().to_owned());
    (played.cases[0].outcome.claims.hits, of_start.collect(), played.starts_at)
}

#[test]
fn schedules_go_by_the_start_of_the_trace_that_is_given_or_recorded_or_else_assumed_and_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let two = 2 * 3_600_000;
    let (hits, assumed, starts_at) = batch_at(folder.path(), two, &[]);
    assert_eq!((hits, starts_at), (40, STARTS_AT));
    assert_eq!(
        assumed,
        ["the trace begins at 2026-01-01T00:00:00Z, a Thursday, and spec.schedules go by that (--starts-at)"]
    );
    let later = ["--starts-at", "2026-03-28T13:00:00Z"];
    let (hits, assumed, starts_at) = batch_at(folder.path(), two, &later);
    assert_eq!((hits, assumed.len(), starts_at.to_string()), (0, 0, "2026-03-28T13:00:00Z".to_owned()));
    let of_unix = 1_774_663_200_000;
    let (hits, assumed, starts_at) = batch_at(folder.path(), of_unix, &[]);
    assert_eq!((hits, assumed.len(), starts_at.to_string()), (40, 0, "2026-03-28T02:00:00Z".to_owned()));
    let (hits, _, starts_at) = batch_at(folder.path(), of_unix, &later);
    assert_eq!((hits, starts_at.to_string()), (0, "2026-03-28T13:00:00Z".to_owned()), "a flag counts more");
}

#[test]
fn the_start_of_the_trace_is_in_the_document_and_only_schedules_make_it_an_assumption() {
    let folder = tempfile::tempdir().expect("a folder");
    let printed = printed(folder.path(), POOL, &["-o", "json"]);
    let document: serde_json::Value = serde_json::from_str(&printed).expect("a document");
    assert_eq!(document["startsAt"], "2026-01-01T00:00:00Z");
    assert!(!printed.contains("--starts-at"), "{printed}");
}

#[test]
fn a_start_that_is_no_time_is_refused_with_what_to_give() {
    let folder = tempfile::tempdir().expect("a folder");
    let load = ["--poisson", "240", "--hold-seconds", "60", "--claims", "300"];
    for (wrong, expected) in [
        ("tomorrow", "give a date, a time and its offset, such as 2026-03-28T00:00:00Z"),
        ("2026-03-28", "give a date, a time and its offset, such as 2026-03-28T00:00:00Z"),
        ("-1", "give a date, a time and its offset, such as 2026-03-28T00:00:00Z"),
        ("1969-01-01T00:00:00Z", "a trace begins between 1970-01-01T00:00:00Z and 2900-01-01T00:00:00Z"),
    ] {
        let refused =
            line(folder.path(), &[&load[..], &["--starts-at", wrong]].concat()).expect_err("refused").to_string();
        assert!(refused.contains("--starts-at <RFC3339>") && refused.contains(expected), "{refused}");
    }
}

#[test]
fn a_schedule_that_cannot_be_read_is_refused_with_its_file_and_field() {
    let folder = tempfile::tempdir().expect("a folder");
    let load = ["--poisson", "240", "--hold-seconds", "60", "--claims", "300"];
    let args = line(folder.path(), &load).expect("arguments");
    fs::write(&args.pool[0], with_schedule().replace("50 1 ", "50 25 ")).expect("a file");
    let error = played(&args).expect_err("it cannot be played");
    assert!(
        error.contains("pool.yaml (--pool): spec.schedules[name=batch].cron: \"50 25 * * *\" has hour 25"),
        "{error}"
    );
}

#[test]
fn a_manifest_that_the_api_server_would_refuse_is_not_played() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = format!("{POOL}{CONFIG}");
    let schedules =
        "schedules:\n    - {name: day, cron: 0 8 * * *, durationSeconds: 3600, targetSize: 200}\n  maxSize: 100";
    for (from, to, expected) in [
        ("hourlyPrice: '0.5'", "hourlyPrice: 0.5", "LaunchConfig a: spec.hourlyPrice: is 0.5: give a text, in quotes"),
        ("hourlyPrice: '0.5'", "hourlyPrice: '-0.1'", "spec.hourlyPrice: is \"-0.1\": give a price such as"),
        ("hourlyPrice: '0.5'", "hourlyPrice: '1e3'", "spec.hourlyPrice: is \"1e3\": give a price such as"),
        ("hourlyPrice: '0.5'", "hourlyPrice: abc", "spec.hourlyPrice: is \"abc\": give a price such as"),
        (
            ", simulated: {endpoint: 'http://c', bootMilliseconds: 30000, bootJitterPercent: 5}",
            "",
            "set exactly one of aws",
        ),
        ("maxSize: 100", schedules, "spec.schedules[name=day].targetSize: is 200, above maxSize 100: raise maxSize"),
    ] {
        assert!(whole.contains(from), "{from}");
        let args =
            line(folder.path(), &["--poisson", "240", "--hold-seconds", "60", "--claims", "300"]).expect("arguments");
        fs::write(&args.pool[0], whole.replace(from, to)).expect("a file");
        let why = played(&args).expect_err(to);
        assert!(why.contains(expected), "{why}");
    }
}

#[test]
fn what_a_pool_would_not_show_by_its_rows_is_noted() {
    let folder = tempfile::tempdir().expect("a folder");
    let notes = |pool: &str, flags: &[&str]| {
        let load = ["--poisson", "240", "--hold-seconds", "60", "--claims", "300"];
        let args = line(folder.path(), &[&load[..], flags].concat()).expect("arguments");
        fs::write(&args.pool[0], pool).expect("a file");
        let pools = [files::pool(&args.pool[0]).expect("a pool")];
        cases::notes(&args, &pools)
    };
    assert_eq!(notes(POOL, &[]), [""; 0]);
    let recommends = notes(&POOL.replace("maxSize: 100", "maxSize: 100\n  autosize: {mode: Recommend}"), &[]);
    assert!(recommends.len() == 1 && recommends[0].contains("Recommend changes no size"), "{recommends:?}");
    let slow = notes(POOL, &["--boot-seconds", "601"]);
    assert!(slow.len() == 1 && slow[0].contains("gives machines up after 600 s, and they boot in 601 s"), "{slow:?}");
    let second = CONFIG.replace("name: a", "name: b").replace("hourlyPrice: '0.5', ", "");
    let both = POOL.replace("{name: a}", "{name: a}, {name: b}");
    let unpriced = notes(&format!("{both}{CONFIG}{second}"), &[]);
    assert!(unpriced.len() == 1 && unpriced[0].contains("the price of b is not known"), "{unpriced:?}");
    let load = ["--poisson", "240", "--hold-seconds", "60", "--svg", "none/a.svg"];
    let why = played(&line(folder.path(), &load).expect("arguments")).expect_err("no folder");
    assert!(why.contains("--svg: there is no folder none"), "{why}");
}
