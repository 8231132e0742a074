//! Arguments and exit codes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{Args, Parser, Subcommand};
use uni_api::cli::environment::Environment;
use uni_api::cli::{CANNOT_START, check, demo, diff, explain, health, logging, serve, stats};

/// With those of glibc and musl a request takes longer: `docs/performance.md`. Other systems are left with their own.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Many LLM providers behind one OpenAI-compatible API.
#[derive(Parser)]
#[command(name = "uni-api", version, about, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API (the default).
    Serve(Serve),
    /// Say what is wrong with a configuration and what the gateway makes of it, without starting.
    Check {
        /// The file to check; without it whatever the gateway would use.
        file: Option<PathBuf>,
        /// Fail on warnings, too.
        #[arg(long)]
        strict: bool,
    },
    /// Say what a gateway that runs with one configuration would change if it became another.
    Diff {
        /// The file as it was.
        old: PathBuf,
        /// The file as it shall be.
        new: PathBuf,
    },
    /// Say which channels a request would be tried at, in what order, and why not at the others; sends none.
    Explain {
        /// The client key; better its position in the table of `check`, its masked form, or `admin`.
        #[arg(long)]
        key: String,
        /// The model that is asked for.
        #[arg(long)]
        model: String,
        /// The configuration; without it whatever the gateway would use.
        file: Option<PathBuf>,
    },
    /// Show the gateway at work in front of a provider of its own; needs no network and no account.
    Demo {
        /// End after the first answer instead of serving on; fail unless it was whole.
        #[arg(long)]
        once: bool,
    },
    /// Show what happened, from the database file, whether the gateway runs or not.
    Stats {
        /// How many hours back, up to 720.
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..=720))]
        hours: u16,
        /// Print the document of /stats instead of tables.
        #[arg(long)]
        json: bool,
    },
    /// Ask the gateway on this machine whether it serves; for health checks of containers.
    Health,
}

#[derive(Args)]
struct Serve {
    /// The configuration file; without it api.yaml here, else what CONFIG_URL names.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let is_logging = logging::start(serve::variable);
    let command = arguments.command.unwrap_or(Command::Serve(arguments.serve));
    let code = is_logging.map_err(Into::into).and_then(|()| run(command));
    let code = code.unwrap_or_else(|why| {
        log::error!("{why}");
        CANNOT_START
    });
    logging::finish();
    ExitCode::from(code)
}

fn run(command: Command) -> Outcome<u8> {
    let working_dir = std::env::current_dir()?;
    let environment = || Environment::read(serve::variable);
    match command {
        Command::Serve(Serve { config }) => Ok(serve::run(config.as_deref(), &working_dir, environment()?)),
        Command::Check { file, strict } => {
            printed(|out| Ok(check::run(file.as_deref(), strict, &surroundings(&working_dir)?, out)?))
        }
        Command::Diff { old, new } => printed(|out| Ok(diff::run(&old, &new, &surroundings(&working_dir)?, out)?)),
        Command::Explain { key, model, file } => {
            let question = explain::Question { file: file.as_deref(), key: &key, model: &model };
            printed(|out| Ok(explain::run(&question, &surroundings(&working_dir)?, out)?))
        }
        Command::Demo { once } => {
            let options = demo::Options { once, ..demo::Options::default() };
            Ok(demo::run(&options, &mut std::io::stdout().lock())?)
        }
        Command::Stats { hours, json } => {
            let database = Environment::read_database(serve::variable);
            let question = stats::Question { database: database.as_deref(), hours, json };
            printed(|out| Ok(stats::run(&question, SystemTime::now(), out)?))
        }
        Command::Health => Ok(health::run(&environment()?)),
    }
}

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn surroundings(working_dir: &Path) -> Outcome<check::Surroundings<'_>> {
    let patience = Environment::read_patience(serve::variable)?;
    Ok(check::Surroundings { working_dir, env: &serve::variable, fetch: &serve::fetch, patience })
}

/// Has something written to the standard output. Gives its exit code.
fn printed(write: impl FnOnce(&mut dyn Write) -> Outcome<u8>) -> Outcome<u8> {
    let mut out = std::io::stdout().lock();
    let code = write(&mut out)?;
    out.flush()?;
    Ok(code)
}
