//! The machine that figures were measured on.

use std::{fs, process::Command};

/// Processors, memory, kernel, compiler and date, as a Markdown list.
pub(crate) fn describe() -> anyhow::Result<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
    let model = field(&cpuinfo, "model name").unwrap_or("unknown");
    let cores = std::thread::available_parallelism()?;
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    let memory = field(&meminfo, "MemTotal").unwrap_or("unknown");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let compiler = Command::new("rustc").arg("--version").output()?.stdout;
    Ok(format!(
        "- date: {}\n- processors: {cores} × {model}\n- memory: {memory}\n- kernel: {}\n- compiler: {}\n- {}",
        time::OffsetDateTime::now_utc().date(),
        kernel.trim(),
        String::from_utf8_lossy(&compiler).trim(),
        load()?,
    ))
}

/// How busy the machine is.
pub(crate) fn load() -> anyhow::Result<String> {
    let load = fs::read_to_string("/proc/loadavg")?;
    let minute = load.split(' ').next().unwrap_or_default();
    Ok(format!("load average of the last minute: {minute}"))
}

fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}
