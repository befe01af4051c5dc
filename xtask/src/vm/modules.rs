//! The kernel modules that the tests use, with those that they depend on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::initramfs::Archive;
use super::kernel::Kernel;
use super::{programs, space};
use crate::command;
use crate::lacking::Lacking;

/// What netdp cannot be without.
const NEEDED: [&str; 4] = ["veth", "bridge", "sch_ingress", "cls_bpf"];

/// What brings sysctls with it, loaded before the tests too: one that looks at the whole host would see them come when
/// another beside it loads the module.
const WITH_SYSCTLS: [&str; 6] =
    ["8021q", "nf_conntrack", "nf_flow_table", "nft_flow_offload", "sctp", "wireguard"];

/// What tests ask for by name. A kernel without one of them says so in the report, and the tests that need it fail.
const WANTED: &[&str] = &["dummy", "ifb", "ipip", "ip_gre", "ipvlan", "macvlan", "sctp_diag", "tun", "vxlan"];

/// What the kernel loads by itself when a rule, a filter or a qdisc is made that needs it: as many of a family as it
/// has, because which of them are modules differs from one kernel to the next.
const FAMILIES: [&str; 9] = ["act_", "cls_", "em_", "nf_", "nfnetlink", "nft_", "sch_", "xt_", "x_tables"];

/// What a guest loads before its tests.
pub(crate) fn loaded_first() -> Vec<String> {
    NEEDED.iter().chain(&WITH_SYSCTLS).map(|name| (*name).to_owned()).collect()
}

/// The modules of one kernel: where each lies, and what it depends on.
#[derive(Debug, Default)]
struct Index {
    /// Path below the folder, and the paths of those that it depends on, by name.
    modules: BTreeMap<String, (String, Vec<String>)>,
    builtin: BTreeSet<String>,
}

/// What a kernel's modules give for what is asked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    /// Paths below the folder, those that others depend on among them.
    files: BTreeSet<String>,
    /// Asked for, and neither there nor built in.
    pub(crate) lacking: Vec<String>,
}

impl Selection {
    /// Bytes that they come to when they are decompressed, rather too many: xz leaves a quarter of a module.
    fn size(&self, folder: &Path) -> u64 {
        let size = |path: &String| {
            let bytes = folder.join(path).metadata().map_or(0, |file| file.len());
            if Path::new(path).extension().is_some_and(|end| end == "ko") { bytes } else { 5 * bytes }
        };
        self.files.iter().map(size).sum()
    }
}

impl Index {
    fn read(folder: &Path) -> Result<Self> {
        let text = |name: &str| {
            let file = folder.join(name);
            fs::read_to_string(&file).with_context(|| {
                format!("cannot read {}: is it a folder like lib/modules/6.1.0?", file.display())
            })
        };
        Ok(Self::parse(&text("modules.dep")?, &text("modules.builtin")?))
    }

    fn parse(dep: &str, builtin: &str) -> Self {
        let mut modules = BTreeMap::new();
        for (path, needs) in dep.lines().filter_map(|line| line.split_once(':')) {
            let needs = needs.split_whitespace().map(str::to_owned).collect();
            modules.insert(name_of(path), (path.to_owned(), needs));
        }
        Self { modules, builtin: builtin.lines().map(name_of).collect() }
    }

    fn select<'a>(&self, wanted: impl IntoIterator<Item = &'a str>) -> Selection {
        let mut selection = Selection::default();
        for name in wanted {
            if let Some((path, needs)) = self.modules.get(&canonical(name)) {
                // modules.dep names all that a module depends on, not only the first.
                selection.files.insert(path.clone());
                selection.files.extend(needs.iter().cloned());
            } else if !self.builtin.contains(&canonical(name)) {
                selection.lacking.push(name.to_owned());
            }
        }
        selection
    }

    /// The names of all that begin with one of these.
    fn named_like(&self, beginnings: &[&str]) -> Vec<&str> {
        let is_one = |name: &&str| beginnings.iter().any(|beginning| name.starts_with(beginning));
        self.modules.keys().map(String::as_str).filter(is_one).collect()
    }
}

/// `kernel/net/8021q/8021q.ko.xz` is `8021q`.
fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    canonical(file.split(".ko").next().unwrap_or(file))
}

/// The kernel takes `-` and `_` in a module's name for the same.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// Writes an archive with the modules for a kernel, uncompressed; gives those wanted that it does not have.
pub(crate) fn write(kernel: &Kernel, folder: &Path, to: &Path) -> Result<Vec<String>> {
    let staged = folder.join("lib/modules").join(&kernel.release);
    let lacking = match &kernel.modules {
        Some(from) => stage_needed(kernel, from, &staged)?,
        None => stage_none(&staged)?,
    };
    depmod(folder, &kernel.release)?;
    let mut archive = Archive::create(to)?;
    archive.add_tree(&Path::new("/usr/lib/modules").join(&kernel.release), &staged)?;
    archive.finish()?;
    Ok(lacking)
}

fn stage_needed(kernel: &Kernel, from: &Path, staged: &Path) -> Result<Vec<String>> {
    let index = Index::read(from)?;
    require(kernel, &index)?;
    let selection = index.select(named().chain(index.named_like(&FAMILIES)));
    clear(staged)?;
    space::check(staged, 2 * selection.size(from), "for the modules of a guest, and an archive of them")?;
    stage(from, &selection, staged)?;
    Ok(selection.lacking)
}

/// Says that all is built in: nobody here can tell for a kernel without a list of it, and without that word modprobe
/// would refuse even what is. A test of what the kernel does not have fails by itself then.
fn stage_none(staged: &Path) -> Result<Vec<String>> {
    clear(staged)?;
    let lines: Vec<String> = named().map(|name| format!("kernel/{name}.ko\n")).collect();
    let file = staged.join("modules.builtin");
    fs::write(&file, lines.concat()).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(Vec::new())
}

/// All that is asked for by name.
fn named<'a>() -> impl Iterator<Item = &'a str> {
    NEEDED.iter().chain(&WITH_SYSCTLS).chain(WANTED).copied()
}

/// Makes the folder anew.
fn clear(staged: &Path) -> Result<()> {
    if staged.exists() {
        fs::remove_dir_all(staged).with_context(|| format!("cannot clear {}", staged.display()))?;
    }
    fs::create_dir_all(staged).with_context(|| format!("cannot make {}", staged.display()))
}

fn require(kernel: &Kernel, index: &Index) -> Result<()> {
    let lacking = index.select(NEEDED).lacking;
    if !lacking.is_empty() {
        return Err(Lacking(format!(
            "the kernel {} has no module {}, without which netdp cannot work: build it with {}",
            kernel.release,
            lacking.join(", "),
            "CONFIG_VETH, CONFIG_BRIDGE, CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF"
        ))
        .into());
    }
    Ok(())
}

/// Copies what is selected below a folder of its own, decompressed: kmod in the guest need not know how.
fn stage(from: &Path, selection: &Selection, staged: &Path) -> Result<()> {
    for path in &selection.files {
        let to = staged.join(path.split(".ko").next().unwrap_or(path)).with_extension("ko");
        fs::create_dir_all(to.parent().context("a module has a folder")?)?;
        decompress(&from.join(path), &to)?;
    }
    for list in ["modules.builtin", "modules.builtin.modinfo", "modules.order"] {
        if from.join(list).exists() {
            fs::copy(from.join(list), staged.join(list)).with_context(|| format!("cannot copy {list}"))?;
        }
    }
    Ok(())
}

fn decompress(from: &Path, to: &Path) -> Result<()> {
    let (program, package) = match from.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => ("xz", "xz-utils"),
        Some("zst") => ("zstd", "zstd"),
        Some("gz") => ("gzip", "gzip"),
        Some(_) | None => {
            fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
            return Ok(());
        }
    };
    let program = programs::find(program).ok_or_else(|| programs::lacking(program, package))?;
    let out = fs::File::create(to).with_context(|| format!("cannot write {}", to.display()))?;
    let status = Command::new(&program).arg("-dc").arg(from).stdout(out).status();
    let name = program.display();
    let status =
        status.with_context(|| format!("cannot start {name}, which the module {} needs", from.display()))?;
    anyhow::ensure!(status.success(), "{name} cannot decompress {} ({status})", from.display());
    Ok(())
}

/// Writes modules.dep for a kernel below a root.
pub(crate) fn depmod(root: &Path, release: &str) -> Result<()> {
    let depmod = programs::find("depmod").ok_or_else(|| programs::lacking("depmod", "kmod"))?;
    command::output(Command::new(depmod).arg("-b").arg(root).arg(release))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "kernel/net/llc/llc.ko:\n\
        kernel/net/802/stp.ko: kernel/net/llc/llc.ko\n\
        kernel/net/bridge/bridge.ko.xz: kernel/net/802/stp.ko kernel/net/llc/llc.ko\n\
        kernel/net/sched/cls_bpf.ko:\n\
        kernel/net/a-b/nft-x.ko:\n";

    #[test]
    fn module_comes_with_all_that_it_depends_on() {
        let selection = Index::parse(DEP, "").select(["bridge"]);
        let names: Vec<String> = selection.files.iter().map(|path| name_of(path)).collect();
        assert_eq!(names, ["stp", "bridge", "llc"]);
        assert_eq!(selection.lacking, [""; 0]);
    }

    #[test]
    fn family_is_all_that_begin_alike() {
        assert_eq!(Index::parse(DEP, "").named_like(&["cls_", "nft_"]), ["cls_bpf", "nft_x"]);
    }

    #[test]
    fn built_in_is_there_and_missing_is_named() {
        let index = Index::parse(DEP, "kernel/drivers/net/veth.ko\n");
        let selection = index.select(["veth", "cls_bpf", "nft_x", "sctp"]);
        assert_eq!(selection.lacking, ["sctp"]);
        assert_eq!(selection.files.len(), 2);
    }

    #[test]
    fn kernel_without_a_needed_module_is_refused_by_its_name() {
        let kernel = Kernel { release: "6.1.0-x".into(), ..Kernel::default() };
        let error = require(&kernel, &Index::parse(DEP, "veth.ko")).unwrap_err();
        assert!(error.is::<Lacking>());
        let text = error.to_string();
        assert!(text.contains("6.1.0-x has no module sch_ingress, without"), "{text}");
    }

    #[test]
    fn module_is_copied_decompressed() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("from");
        fs::create_dir_all(from.join("kernel")).unwrap();
        fs::write(from.join("kernel/a.ko"), "one").unwrap();
        fs::write(from.join("kernel/b.ko"), "two").unwrap();
        command::output(Command::new("xz").arg(from.join("kernel/b.ko"))).unwrap();
        let files = ["kernel/a.ko", "kernel/b.ko.xz"].map(str::to_owned).into();
        let staged = folder.path().join("staged");
        clear(&staged).unwrap();
        stage(&from, &Selection { files, lacking: Vec::new() }, &staged).unwrap();
        assert_eq!(fs::read_to_string(staged.join("kernel/a.ko")).unwrap(), "one");
        assert_eq!(fs::read_to_string(staged.join("kernel/b.ko")).unwrap(), "two");
    }

    #[test]
    fn room_for_compressed_modules_is_that_of_what_is_in_them() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.ko"), [0; 100]).unwrap();
        fs::write(folder.path().join("b.ko.zst"), [0; 10]).unwrap();
        let files = ["a.ko", "b.ko.zst"].map(str::to_owned).into();
        assert_eq!(Selection { files, lacking: Vec::new() }.size(folder.path()), 150);
    }

    #[test]
    fn modprobe_takes_all_for_built_in_where_there_are_no_modules() {
        let folder = tempfile::tempdir().unwrap();
        let kernel = Kernel { release: "6.1.0-x".into(), ..Kernel::default() };
        assert_eq!(write(&kernel, folder.path(), &folder.path().join("to")).unwrap(), [""; 0]);
        let shown = |module: &str| {
            // It only says what it would do.
            let mut modprobe = Command::new(programs::find("modprobe").unwrap());
            modprobe.arg("-d").arg(folder.path()).args(["-S", "6.1.0-x", "--show-depends", module]);
            command::output(&mut modprobe)
        };
        named().for_each(|module| assert!(shown(module).unwrap().starts_with("builtin "), "{module}"));
        assert!(shown("no_such").is_err());
    }

    #[test]
    fn folder_without_modules_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = format!("{:#}", Index::read(folder.path()).unwrap_err());
        assert!(error.contains("modules.dep"), "{error}");
    }
}
