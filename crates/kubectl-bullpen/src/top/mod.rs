//! `kubectl bullpen top`: a live view of pools, members, queues and rates. `feed` watches the cluster, `model` stores
//! what the watches report, `draw` renders the model. This file has the terminal and the keys.

mod draw;
mod feed;
mod model;
mod rates;
mod tables;

use std::io::IsTerminal as _;
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{BeginSynchronizedUpdate, EndSynchronizedUpdate};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use self::feed::Change;
use self::model::Model;
use super::shared::failure::Failure;
use super::shared::printing;
use super::shared::session::Session;

/// How often the screen is drawn without changes, because ages grow.
const TICK: Duration = Duration::from_secs(1);
/// Changes within this time are drawn together.
const FRAME: Duration = Duration::from_millis(100);
/// The rows by which the lists scroll.
const PAGE: isize = 10;
/// How often the thread that reads keys checks whether it should end.
const LISTEN: Duration = Duration::from_millis(200);
/// How long a snapshot waits for the first lists.
const SNAPSHOT: Duration = Duration::from_secs(30);

/// Arguments of `top`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Keys: up and down choose a pool, page up and page down scroll its members and queue, p freezes the view, q leaves. Where the output is not a terminal, \
    it is printed once."
)]
pub(super) struct TopArgs {
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
}

pub(super) async fn execute(args: &TopArgs, session: &Session) -> Result<(), Failure> {
    // Print a refusal before the terminal is switched to the full screen.
    session.list::<bullpen_api::InstancePool>(args.all_namespaces, &kube::api::ListParams::default().limit(1)).await?;
    let scope = if args.all_namespaces { None } else { Some(session.namespace.clone()) };
    let mut model = Model::new(scope);
    let mut changes = feed::follow(session, args.all_namespaces);
    if !std::io::stdout().is_terminal() {
        return snapshot(&mut model, &mut changes).await;
    }
    let mut terminal = ratatui::try_init()?;
    let outcome = live(&mut terminal, &mut model, &mut changes).await;
    let restored = ratatui::try_restore();
    outcome?;
    Ok(restored?)
}

/// Prints the view once, as soon as everything is listed.
async fn snapshot(model: &mut Model, changes: &mut mpsc::Receiver<Change>) -> Result<(), Failure> {
    let whole = async {
        while !model.is_whole() {
            match changes.recv().await {
                Some(Change::Refused(failure)) => return Err(failure),
                Some(change) => model.take(change, Timestamp::now()),
                None => return Err(Failure::other("the watch ended")),
            }
        }
        Ok(())
    };
    let late = |_| Failure::other("timed out waiting for the lists");
    tokio::time::timeout(SNAPSHOT, whole).await.map_err(late)??;
    printing::block(&tables::snapshot(model, Timestamp::now()));
    Ok(())
}

async fn live(
    terminal: &mut ratatui::DefaultTerminal,
    model: &mut Model,
    changes: &mut mpsc::Receiver<Change>,
) -> Result<(), Failure> {
    let mut keys = keys();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut due = Some(Instant::now());
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = hang_up.recv() => return Ok(()),
            _ = tick.tick() => due = due.or(Some(Instant::now())),
            key = keys.recv() => match key {
                Some(Event::Key(key)) => {
                    if pressed(model, key) {
                        return Ok(());
                    }
                    due = Some(Instant::now());
                }
                Some(Event::Resize(..)) => due = Some(Instant::now()),
                Some(_) => {}
                None => return Ok(()),
            },
            change = changes.recv() => match change {
                Some(Change::Refused(failure)) => return Err(failure),
                Some(change) => {
                    model.take(change, Timestamp::now());
                    due = due.or(Some(Instant::now() + FRAME));
                }
                None => return Err(Failure::other("the watch ended")),
            },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                due = None;
                let now = Timestamp::now();
                // Terminals that support synchronized updates show each frame as a whole.
                execute!(std::io::stdout(), BeginSynchronizedUpdate)?;
                let drawn = terminal.draw(|frame| draw::draw(frame, model, now)).map(drop);
                execute!(std::io::stdout(), EndSynchronizedUpdate)?;
                drawn?;
            }
        }
    }
}

/// Handles a key. Returns whether it ends the command.
fn pressed(model: &mut Model, key: KeyEvent) -> bool {
    if key.kind == KeyEventKind::Release {
        return false;
    }
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return true,
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
        KeyCode::PageDown | KeyCode::Char(' ') => model.scroll(PAGE),
        KeyCode::PageUp | KeyCode::Char('b') => model.scroll(-PAGE),
        KeyCode::Home => model.scroll(isize::MIN),
        KeyCode::Up | KeyCode::Char('k') => model.choose(-1),
        KeyCode::Down | KeyCode::Char('j') => model.choose(1),
        KeyCode::Char('p') => model.freeze(Timestamp::now()),
        _ => {}
    }
    false
}

/// Terminal events, read in a separate thread because reading blocks.
fn keys() -> mpsc::Receiver<Event> {
    let (sender, typed) = mpsc::channel(16);
    thread::spawn(move || {
        while !sender.is_closed() {
            match event::poll(LISTEN) {
                Ok(false) => {}
                Ok(true) => match event::read() {
                    Ok(event) => drop(sender.blocking_send(event)),
                    Err(_) => return,
                },
                Err(_) => return,
            }
        }
    });
    typed
}
