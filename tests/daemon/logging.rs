//! Log lines: text or JSON, to a rolling file, none lost.

use serde_json::Value;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_log_file_holds_every_line_as_json_with_its_fields() {
    let Some(bench) = Bench::start("logging", &[]).await else { return };
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("not/yet");
    let config = ConfigFile::new(&format!(
        r#"
version: 1
targets: {{ app: {{ url: "env:DATABASE_URL" }} }}
jobs: {{ tick: {{ kind: sql, with: {{ statement: "select 1" }} }} }}
schedules: {{ cron: [ {{ job: tick, cron: "* * * * * *" }} ] }}
logging: {{ level: "pgupkeep=debug", format: json, stderr: true, file: {{ directory: "{}", rotation: hourly, keep: 3 }} }}
"#,
        folder.display()
    ));
    let mut daemon = bench.daemon(&config).await;
    bench.wait_for_count("runs", "select count(*) from pgupkeep.run where outcome = 'succeeded'", 3, START).await;
    daemon.stop(START).await;
    let runs = bench.column("select run_id from pgupkeep.run where attempts > 0 order by run_id").await;
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let name = files[0].file_name().unwrap().to_string_lossy().into_owned();
    assert!(name.starts_with("pgupkeep.20") && files[0].extension().unwrap() == "log", "{name}");
    let text: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert_eq!(lines.len(), daemon.lines().len(), "the file and standard error hold the same lines");
    assert_eq!(lines.last().unwrap()["message"], "stopped", "the last line is not lost");
    let fired = lines.iter().find(|line| line["message"] == "fired").unwrap();
    assert_eq!((&fired["job"], &fired["target"]), (&"tick".into(), &"app".into()));
    for run in runs {
        let ended = lines.iter().find(|line| line["message"] == "run ended" && line["span"]["run"] == run.as_str());
        let ended = ended.unwrap_or_else(|| panic!("run {run} is not in the log"));
        assert_eq!((&ended["span"]["job"], &ended["span"]["target"]), (&"tick".into(), &"app".into()));
        assert_eq!(ended["outcome"], "succeeded");
    }
    let step = lines.iter().find(|line| line["message"] == "step done").unwrap();
    assert!(step["step"].as_str().unwrap().contains("select 1"), "{step}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_folder_that_cannot_be_written_is_refused_with_words() {
    let Some(bench) = Bench::start("logging-refused", &[]).await else { return };
    let config = ConfigFile::new(
        r#"
version: 1
targets: { app: { url: "env:DATABASE_URL" } }
jobs: {}
schedules: {}
logging: { file: { directory: "/proc/nowhere", rotation: daily, keep: 3 } }
"#,
    );
    let said = pgupkeep(&config.path(), &["daemon"], &[("DATABASE_URL", &bench.url)]).await;
    assert_eq!(said.code, Some(78), "{said:?}");
    let place = "schedules.yaml:6:31: logging.file.directory: the log folder /proc/nowhere cannot be written: ";
    assert!(said.stderr.contains(place), "{said:?}");
}
