//! Batches in which steps stop: the others go on where they stopped, and nobody is asked twice.

use std::sync::Mutex;

use proptest::prelude::*;

use super::*;

/// Answers for so many items at once, and drops, fails, keeps or splits each by its bytes alone.
#[derive(Debug)]
struct Stops {
    answers_max: usize,
    salt: usize,
    asked: Mutex<Vec<String>>,
}

impl Stops {
    fn new((answers_max, salt): (usize, usize)) -> Self {
        Self { answers_max, salt, asked: Mutex::default() }
    }

    fn verdict(&self, item: &Item) -> Verdict {
        let data = &item.part.data;
        let sum: usize = data.iter().map(|byte| usize::from(*byte)).sum::<usize>() + self.salt;
        let part = |number: usize| Part::new([data.as_ref(), &[b'a' + number as u8]].concat());
        match sum % 6 {
            0 => Verdict::Dropped,
            1 => Verdict::failed("Test.Failed", "it was to fail"),
            count => Verdict::Parts((1..count).map(part).collect()),
        }
    }
}

impl Transform for Stops {
    fn apply<'a>(&'a self, items: &'a [Item]) -> BoxFuture<'a, Result<Vec<Verdict>, Unavailable>> {
        let items = &items[..items.len().min(self.answers_max)];
        let ids = items.iter().map(|item| item.id.clone());
        self.asked.lock().expect("no panic").extend(ids);
        let verdicts = items.iter().map(|item| self.verdict(item)).collect();
        Box::pin(async move { Ok(verdicts) })
    }
}

/// What becomes of records, by how many at once, and whom each step was asked of.
fn outcome(
    steps: impl Iterator<Item = (usize, usize)>,
    count: usize,
) -> (Vec<Vec<Vec<Transformed>>>, Vec<Vec<String>>) {
    let steps: Vec<_> = steps.map(|step| Arc::new(Stops::new(step))).collect();
    let chain = Chain::new(steps.iter().map(|step| step.clone() as Arc<dyn Transform>).collect());
    let items = (0..count).map(|number| item(&number.to_string(), number.to_string())).collect();
    let mut journey = chain.begin(items);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut told = Vec::new();
    loop {
        let next = runtime.block_on(journey.go_on(&|_| {}));
        if next.is_empty() {
            break;
        }
        told.push(next);
    }
    let asked = steps.iter().map(|step| step.asked.lock().expect("no panic").clone());
    (told, asked.collect())
}

proptest! {
    #[test]
    fn wherever_steps_stop_each_record_becomes_the_same_and_no_step_is_asked_of_it_again(
        steps in proptest::collection::vec((1usize..8, 0usize..6), 0..4),
        count in 0usize..12,
    ) {
        let (told, asked) = outcome(steps.iter().copied(), count);
        let unbounded = steps.iter().map(|(_, salt)| (usize::MAX, *salt));
        let (at_once, asked_at_once) = outcome(unbounded, count);
        prop_assert_eq!(at_once.len(), usize::from(count > 0));
        prop_assert_eq!(told.concat(), at_once.concat());
        for (mut asked, mut asked_at_once) in asked.into_iter().zip(asked_at_once) {
            asked.sort();
            asked_at_once.sort();
            prop_assert_eq!(asked, asked_at_once);
        }
    }
}
