//! `reelfleet dlq`: dead letters are shown, sent back or thrown away, never edited.
//!
//! Guarantee: looking changes nothing; whatever is done leaves an audit line that says who did it. A letter is the
//! message as it was, with the reason, the attempts, the last error, the decoder's end and a pointer to what it was given.

mod filter;
mod redrive;
mod show;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand};
use reelfleet_fleet::dead_letters::{self, Filter, Hand, Held};
use reelfleet_fleet::{Context, QueueName};

use self::filter::Choice;
use crate::up::ready::{self, Ready};
use crate::{operator, status, worker};

/// Options of `dlq`.
#[derive(Args)]
pub struct DlqArgs {
    #[command(subcommand)]
    command: Command,
    /// Folder of a running `reelfleet up` [default: the environment]
    #[arg(long, value_name = "DIR", global = true)]
    data: Option<PathBuf>,
    /// Who does it, for the audit [default: user@host]
    #[arg(long = "as", env = "REELFLEET_OPERATOR", value_name = "NAME", global = true)]
    who: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// List dead letters
    Ls {
        /// Of one queue only
        #[arg(long)]
        queue: Option<QueueName>,
        /// Those that fit: reason=CODE,kind=KIND,asset=ID,queue=NAME
        #[arg(long, value_name = "NAME=VALUE,…", conflicts_with = "queue")]
        filter: Option<Filter>,
        /// Print them as JSON, whole
        #[arg(long)]
        json: bool,
    },
    /// Show all of one letter
    Show {
        /// Its id (or the beginning of it), or its task's
        id: String,
    },
    /// Send letters back to their queues: their tasks are revived
    Redrive {
        #[command(flatten)]
        which: Redriven,
        /// Send so many first, and the rest when their tasks have ended well
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        canary: Option<u32>,
        /// How long canaries are waited for, in seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 1800, requires = "canary", value_parser = clap::value_parser!(u64).range(..=604_800))]
        timeout: u64,
    },
    /// Throw letters away; the audit keeps what they said
    Discard {
        #[command(flatten)]
        which: Choice,
        /// Why, for the audit
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

/// What is sent back.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Redriven {
    /// One letter, by its id (or the beginning of it) or by its task's
    id: Option<String>,
    /// All letters that fit: reason=CODE,kind=KIND,asset=ID,queue=NAME
    #[arg(long, value_name = "NAME=VALUE,…")]
    filter: Option<Filter>,
    /// All letters
    #[arg(long)]
    all: bool,
}

impl Redriven {
    fn choice(self) -> Choice {
        match (self.id, self.filter) {
            (Some(id), _) => Choice::one(id),
            (None, Some(filter)) => Choice::fitting(filter),
            (None, None) => Choice::all(),
        }
    }
}

/// Does what was asked.
pub async fn run(args: DlqArgs) -> anyhow::Result<()> {
    let ready = args.data.as_deref().map(|folder| Ready::read(&ready::in_folder(folder))).transpose()?;
    let context = status::context(ready.as_ref()).await?;
    let catalog = worker::catalog(&context);
    let hand = Hand { context, catalog, who: args.who.unwrap_or_else(operator::user_at_host) };
    match args.command {
        Command::Ls { queue, filter, json } => {
            let filter = filter.unwrap_or_else(|| Filter::of_queue(queue));
            list(&hand.context, &filter, json).await
        }
        Command::Show { id } => show_one(&hand, id).await,
        Command::Redrive { which, canary, timeout } => {
            let canary = canary.map(|count| count as usize);
            redrive::redrive(&hand, &which.choice(), canary, Duration::from_secs(timeout)).await
        }
        Command::Discard { which, reason } => {
            if reason.trim().is_empty() {
                bail!("--reason: say why");
            }
            redrive::discard(&hand, &which, &reason).await
        }
    }
}

/// All letters of these queues; says which of them somebody else holds.
async fn walk(context: &Context, queues: &[QueueName]) -> anyhow::Result<Held> {
    let held = dead_letters::through(context, queues).await?;
    for (queue, others) in &held.elsewhere {
        let name = context.queues.dlq_name(*queue);
        eprintln!("{others} more letters of {name} are held by somebody else just now; ask again in a minute");
    }
    Ok(held)
}

async fn list(context: &Context, filter: &Filter, json: bool) -> anyhow::Result<()> {
    let mut held = walk(context, &filter.queues()).await?;
    let mut letters = held.found.clone();
    held.give_back(|_| true).await;
    letters.retain(|letter| filter.fits(letter));
    if json {
        println!("{}", serde_json::Value::Array(letters.iter().map(show::json).collect()));
    } else if letters.is_empty() {
        eprintln!("no dead letters");
    } else {
        print!("{}", show::list(&letters, context.clock.now_ms()));
    }
    Ok(())
}

async fn show_one(hand: &Hand, id: String) -> anyhow::Result<()> {
    let choice = Choice::one(id);
    let mut held = walk(&hand.context, &choice.queues()).await?;
    let letters = held.found.clone();
    held.give_back(|_| true).await;
    let chosen = choice.of(&letters)?;
    for letter in letters.iter().filter(|letter| chosen.contains(&letter.id)) {
        let past = hand.catalog.audit_of(&letter.subject(), 10).await?;
        print!("{}", show::whole(letter, &past));
    }
    Ok(())
}
