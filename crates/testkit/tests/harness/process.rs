use std::time::Duration;

use anyhow::Result;
use testkit::process::{Process, Spec};
use testkit::{Operator, OperatorOptions, folder, run};

#[test]
fn children_outlive_the_thread_that_asked_for_them_but_not_their_handle() -> Result<()> {
    let at = folder("process")?;
    let log = at.path().join("log");
    let spec = Spec::new("sleep", "/bin/sleep", log).arg("600");
    let child = std::thread::spawn(move || Process::start(spec)).join().unwrap()?;
    std::thread::sleep(Duration::from_millis(200));
    assert!(child.is_running());
    assert!(child.rss()? > 0 && child.vm_hwm()? >= child.rss()? && child.cpu_seconds()? < 1.0);
    let proc = format!("/proc/{}", child.pid());
    drop(child);
    assert!(!std::path::Path::new(&proc).exists());
    Ok(())
}

#[test]
fn a_dead_process_leaves_neither_children_nor_folders() -> Result<()> {
    // This test binary itself, as a process that is killed while it has a child.
    if let Some(out) = std::env::var_os("TESTKIT_ORPHAN") {
        let at = folder("orphan")?;
        let child = Process::start(Spec::new("sleep", "/bin/sleep", at.path().join("log")).arg("600"))?;
        std::fs::write(out, format!("{}\n{}", child.pid(), at.path().display()))?;
        std::thread::sleep(Duration::from_secs(600));
        return Ok(());
    }
    let at = folder("process")?;
    let out = at.path().join("out");
    let name = "process::a_dead_process_leaves_neither_children_nor_folders";
    let mut spec =
        Spec::new("itself", std::env::current_exe()?, at.path().join("log")).args(["--exact", name]);
    spec = spec.env("TESTKIT_ORPHAN", &out);
    let process = Process::start(spec)?;
    run(async {
        let read = async || {
            Ok(std::fs::read_to_string(&out)
                .ok()
                .filter(|text| text.contains('\n')))
        };
        let text = testkit::eventually("the child has a child", Duration::from_secs(20), read).await?;
        let (pid, folder) = text.split_once('\n').unwrap();
        let (pid, folder) = (format!("/proc/{pid}"), std::path::PathBuf::from(folder));
        assert!(std::path::Path::new(&pid).exists() && folder.exists());
        process.kill()?;
        let gone = async || {
            let zombie = std::fs::read_to_string(format!("{pid}/stat")).is_ok_and(|s| s.contains(") Z "));
            Ok(((zombie || !std::path::Path::new(&pid).exists()) && !folder.exists()).then_some(()))
        };
        testkit::eventually("child and folder are gone", Duration::from_secs(20), gone).await
    })
}

#[test]
fn an_operator_that_ends_at_once_is_reported_with_its_log() {
    let options = OperatorOptions::new("/bin/false", "/nowhere.kubeconfig");
    let error = run(Operator::start(options)).err().unwrap().to_string();
    assert!(error.contains("ended with exit status: 1"), "{error}");
    let options = OperatorOptions::new("/does/not/exist", "/nowhere.kubeconfig");
    let error = run(Operator::start(options)).err().unwrap().to_string();
    assert!(error.contains("/does/not/exist does not exist"), "{error}");
}
