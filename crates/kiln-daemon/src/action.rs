//! A unit as an action of the Remote Execution API. Reads no file and runs nothing.

use kiln_cas::{Action, Command, Digest, ROOT_PROPERTY};
use kiln_cmdline::Invocation;
use kiln_sandbox::KILN_ROOT;
use kiln_scan::{Closure, FileId};
use kiln_toolchain::Toolchain;
use kiln_worker::{STDIN_PROPERTY, TERMINAL_PROPERTY};
use std::sync::Arc;

use crate::blobs::Blobs;
use crate::inputs::{Form, Inputs};
use crate::root::FilledRoot;

/// Where a source that came by standard input stands in the root.
pub(crate) const STDIN_PATH: &str = "/.kiln-stdin";

/// A unit that can run anywhere.
#[derive(Clone)]
pub(crate) struct Analysed {
    pub(crate) unit: Invocation,
    pub(crate) toolchain: Arc<Toolchain>,
    pub(crate) action: Action,
    pub(crate) command: Command,
    pub(crate) action_digest: Digest,
    pub(crate) blobs: Blobs,
    pub(crate) form: Form,
    /// What was found for it.
    pub(crate) closure: Arc<Closure>,
}

impl Analysed {
    /// Puts an action together. `words` are the arguments after the driver's name.
    pub(crate) fn of(
        unit: Invocation,
        toolchain: Arc<Toolchain>,
        words: Vec<String>,
        cwd: &str,
        inputs: Inputs,
        root: FilledRoot,
        source: Option<FileId>,
    ) -> Analysed {
        let mut arguments = vec![toolchain.driver.to_string_lossy().into_owned()];
        arguments.extend(words);
        let mut environment = unit.env.clone();
        environment.push(("PATH".to_owned(), toolchain.search_path.clone()));
        environment.sort();
        let mut output_paths: Vec<String> = unit.outputs.iter().map(|output| output.path.clone()).collect();
        output_paths.sort();
        output_paths.dedup();
        let platform = platform(toolchain.host_arch, unit.reads_stdin(), None);
        let command = Command {
            arguments,
            environment,
            output_files: output_paths.clone(),
            output_directories: Vec::new(),
            platform: platform.clone(),
            working_directory: cwd.trim_start_matches('/').to_owned(),
            output_paths,
        };
        let action = Action {
            command_digest: Digest::EMPTY,
            input_root_digest: root.root,
            timeout_ms: None,
            do_not_cache: false,
            salt: Vec::new(),
            platform,
        };
        let blobs = Blobs::of(root, Arc::clone(&toolchain), source);
        let Inputs { form, closure } = inputs;
        let mut analysed = Analysed { unit, toolchain, action, command, action_digest: Digest::EMPTY, blobs, form, closure };
        analysed.seal();
        analysed
    }

    /// Computes the digests of command and action after a change to either.
    fn seal(&mut self) {
        let command = self.command.encode();
        self.action.command_digest = Digest::of(&command);
        let action = self.action.encode();
        self.action_digest = Digest::of(&action);
        self.blobs.add_messages([(self.action.command_digest, command.into()), (self.action_digest, action.into())]);
    }

    /// Another driver runs it, on another machine; the root is set already.
    pub(crate) fn run_by(&mut self, driver: &str, machine: &str, search_path: &str) {
        self.command.arguments[0] = driver.to_owned();
        for (name, value) in &mut self.command.environment {
            if name == "PATH" {
                search_path.clone_into(value);
            }
        }
        self.action.platform = platform(machine, self.unit.reads_stdin(), None);
        self.command.platform = self.action.platform.clone();
        self.seal();
    }

    /// Whether a job sees of the user's terminal what the compiler would see here: clang may look it up in a database, of which the
    /// toolchain holds the usual entries.
    pub(crate) fn knows_terminal(&self) -> bool {
        let value = |name: &str| self.unit.terminal_env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let mut entries = self.toolchain.entries.iter().filter(|entry| entry.path().contains("/terminfo/")).peekable();
        let name = value("TERM").unwrap_or_default();
        let own = value("TERMINFO").or(value("TERMINFO_DIRS")).is_some();
        let end = format!("/{name}");
        entries.peek().is_none() || name.is_empty() || (!own && entries.any(|entry| entry.path().ends_with(&end)))
    }

    /// The same unit, its messages written for a terminal of that size.
    pub(crate) fn for_terminal(mut self, terminal: kiln_frame::Terminal) -> Analysed {
        let value = format!("{}x{}", terminal.columns, terminal.rows);
        self.action.platform = platform(self.toolchain.host_arch, self.unit.reads_stdin(), Some(&value));
        self.command.platform = self.action.platform.clone();
        self.command.environment.extend(self.unit.terminal_env.iter().cloned());
        self.command.environment.sort();
        self.command.environment.dedup();
        self.seal();
        self
    }
}

fn platform(machine: &str, stdin: bool, terminal: Option<&str>) -> Vec<(String, String)> {
    let isa = match machine {
        "x86_64" => "x86-64",
        "aarch64" => "arm-a64",
        other => other,
    };
    let mut platform = vec![
        ("ISA".to_owned(), isa.to_owned()),
        ("OSFamily".to_owned(), "linux".to_owned()),
        (ROOT_PROPERTY.to_owned(), KILN_ROOT.to_owned()),
    ];
    if stdin {
        platform.push((STDIN_PROPERTY.to_owned(), STDIN_PATH.to_owned()));
    }
    if let Some(terminal) = terminal {
        platform.push((TERMINAL_PROPERTY.to_owned(), terminal.to_owned()));
    }
    platform
}
