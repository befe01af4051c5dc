//! What every member's manifest must hold: the shared lint table, and versions from the workspace alone.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command;
use crate::workspace::Workspace;

/// The manifests of all members, asked of cargo.
pub(crate) fn members(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let mut cargo = command::cargo();
    cargo.current_dir(&workspace.root).args(["metadata", "--no-deps", "--format-version", "1", "--locked"]);
    let metadata: Value = serde_json::from_str(&command::output(&mut cargo)?).context("cargo metadata")?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    packages
        .iter()
        .map(|package| Ok(package["manifest_path"].as_str().context("no manifest_path")?.into()))
        .collect()
}

/// What is wrong in the members' manifests, one line each.
pub(crate) fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for manifest in members(workspace)? {
        let text =
            fs::read_to_string(&manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
        let short = workspace.short(&manifest).display();
        all.extend(faults(&text).into_iter().map(|fault| format!("{short}: {fault}")));
    }
    Ok(all)
}

fn faults(manifest: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut section = "";
    let mut lints = false;
    for line in manifest.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if section == "lints" {
            lints |= line == "workspace = true";
        } else if section.ends_with("dependencies") && !line.contains("workspace = true") {
            faults.push(format!("`{line}`: give the version in [workspace.dependencies] and inherit it"));
        }
    }
    if !lints {
        faults.push("does not inherit the lint table: add `[lints]` with `workspace = true`".into());
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_inherits_everything_is_in_order() {
        assert_eq!(
            faults("[dependencies]\n# why\na = { workspace = true }\n\n[lints]\nworkspace = true\n"),
            [""; 0]
        );
    }

    #[test]
    fn a_version_of_its_own_and_a_lint_table_of_its_own_are_faults() {
        let faults = faults("[dev-dependencies]\na = \"1\"\n[lints.clippy]\nall = \"allow\"\n");
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("a = \"1\""));
    }
}
