//! Sending letters back, and throwing them away.
//!
//! Guarantee: canaries go first, and the rest only when all of them have ended well.

use std::time::Duration;

use anyhow::bail;
use reelfleet_fleet::dead_letters::{Fate, Found, Hand};

use super::filter::Choice;
use super::walk;

/// How often canaries are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Sends the chosen letters back: all at once, or so many first.
pub async fn redrive(hand: &Hand, choice: &Choice, canary: Option<usize>, patience: Duration) -> anyhow::Result<()> {
    let mut held = walk(&hand.context, &choice.queues()).await?;
    let chosen = choice.of(&held.found);
    let Ok(chosen) = chosen else {
        held.give_back(|_| true).await;
        return chosen.map(drop);
    };
    let first: Vec<String> = match canary {
        Some(count) => {
            let known = |id: &&String| held.found.iter().any(|l| l.id == **id && l.task.is_some());
            chosen.iter().filter(known).take(count).cloned().collect()
        }
        None => chosen.clone(),
    };
    held.give_back(|letter| !first.contains(&letter.id)).await;
    if first.is_empty() {
        bail!("none of these letters is a task, so no canary can be followed");
    }
    let canaries = std::mem::take(&mut held.found);
    send_back(hand, &canaries).await?;
    if canary.is_none() {
        return Ok(());
    }
    follow(hand, &canaries, chosen.len() - first.len(), patience).await?;
    let rest: Vec<&String> = chosen.iter().filter(|id| !first.contains(id)).collect();
    if rest.is_empty() {
        return Ok(());
    }
    let mut held = walk(&hand.context, &choice.queues()).await?;
    held.give_back(|letter| !rest.contains(&&letter.id)).await;
    send_back(hand, &held.found).await
}

/// Throws the chosen letters away; the audit keeps them.
pub async fn discard(hand: &Hand, choice: &Choice, reason: &str) -> anyhow::Result<()> {
    let mut held = walk(&hand.context, &choice.queues()).await?;
    let chosen = choice.of(&held.found);
    let Ok(chosen) = chosen else {
        held.give_back(|_| true).await;
        return chosen.map(drop);
    };
    held.give_back(|letter| !chosen.contains(&letter.id)).await;
    for letter in &held.found {
        hand.discard(letter, reason).await?;
        println!("discarded {} of {} ({})", letter.id, letter.queue, letter.subject());
    }
    Ok(())
}

async fn send_back(hand: &Hand, letters: &[Found]) -> anyhow::Result<()> {
    for letter in letters {
        hand.send_back(letter).await?;
        println!("redriven {} to {} ({})", letter.id, letter.queue, letter.subject());
    }
    Ok(())
}

/// Waits until every canary has ended; anything but a good end stops the rest.
async fn follow(hand: &Hand, canaries: &[Found], waiting: usize, patience: Duration) -> anyhow::Result<()> {
    let end = tokio::time::Instant::now() + patience;
    let mut at_work: Vec<&Found> = canaries.iter().collect();
    let mut bad = Vec::new();
    while !at_work.is_empty() && tokio::time::Instant::now() < end {
        let mut left = Vec::new();
        for canary in at_work {
            let Some(task) = &canary.task else { continue };
            match Fate::of(canary.letter.token, hand.catalog.standing(&task.task).await?.as_ref()) {
                Fate::Waits => left.push(canary),
                Fate::Well => println!("canary {} ended well", task.task),
                Fate::Badly(why) => bad.push(format!("{} {why}", task.task)),
            }
        }
        at_work = left;
        if !at_work.is_empty() {
            tokio::time::sleep(LOOK).await;
        }
    }
    if !bad.is_empty() {
        bail!("the rest ({waiting}) stays where it is: {}", bad.join("; "));
    }
    if !at_work.is_empty() {
        let seconds = patience.as_secs();
        bail!(
            "the rest ({waiting}) stays where it is: {} of the canaries have not ended in {seconds} s",
            at_work.len()
        );
    }
    Ok(())
}
