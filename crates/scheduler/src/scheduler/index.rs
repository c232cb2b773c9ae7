//! Which waiting job goes next, and to whom it could go. Jobs are grouped into
//! *classes* (queue, label set, minimum boundary, containers, limits), runners into *shapes*
//! (label set, queues, boundary, containers, limits); who matches whom is settled once per pair, when the
//! class or the shape appears. Dispatch looks at classes that have both a job
//! and a free runner, and at nothing else: a million jobs that match nobody are
//! never touched.
//!
//! Within a class: priority, then the project whose turn is longest ago, then
//! first in, first out. The index knows nothing of leases, groups or time.

use super::ceiling::Ceiling;
use super::slab::{Names, Slab};
use fleetfoot_model::{Boundary, LabelSet};
use indexmap::IndexSet;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What decides which runners a job could go to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ClassKey {
    pub(super) queue: u32,
    pub(super) labels: LabelSet,
    pub(super) boundary: Boundary,
    pub(super) containers: bool,
    pub(super) limits: Ceiling,
}

/// What decides which jobs a runner could take. `queues` is sorted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ShapeKey {
    pub(super) labels: LabelSet,
    pub(super) queues: Box<[u32]>,
    pub(super) boundary: Boundary,
    pub(super) containers: bool,
    pub(super) limits: Ceiling,
}

impl ShapeKey {
    fn takes(&self, class: &ClassKey) -> bool {
        self.queues.binary_search(&class.queue).is_ok()
            && class.boundary <= self.boundary
            && class.containers <= self.containers
            && self.limits.allows(&class.limits)
            && class.labels.is_subset_of(&self.labels)
    }
}

/// Where a job stands in the order of dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) class: u32,
    pub(super) priority: i32,
    pub(super) project: u32,
    pub(super) seq: u64,
}

/// The order among the heads of classes: priority, turn of the project, age.
type Rank = (Reverse<i32>, u64, u64);

#[derive(Debug)]
struct Class {
    key: ClassKey,
    levels: BTreeMap<Reverse<i32>, Level>,
    /// Jobs in the lanes.
    ready: usize,
    /// Entries that refer to this class, wherever they are.
    uses: usize,
    /// Matching shapes.
    shapes: Vec<u32>,
    /// Matching shapes that have a free runner.
    free: IndexSet<u32>,
    /// Its key in `Index::active`.
    active: Option<Rank>,
}

#[derive(Debug, Default)]
struct Level {
    /// (turn, first job, project): the least recently served project first.
    ring: BTreeSet<(u64, u64, u32)>,
    lanes: HashMap<u32, Lane>,
}

#[derive(Debug)]
struct Lane {
    turn: u64,
    jobs: BTreeMap<u64, u32>,
}

impl Lane {
    fn head(&self) -> Option<u64> {
        self.jobs.first_key_value().map(|(&seq, _)| seq)
    }
}

#[derive(Debug)]
struct Shape {
    key: ShapeKey,
    runners: usize,
    classes: Vec<u32>,
    /// Runners that may be given a job, by share of free slots.
    free: BTreeMap<Reverse<u32>, Vec<u32>>,
}

/// At most this many shapes are compared for one assignment; with more, a random
/// stretch of them stands for all.
const SHAPES_COMPARED: usize = 256;

/// Share of a runner all of whose slots are free.
const WHOLE: u32 = 1 << 16;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Index {
    classes: Slab<Class>,
    class_ids: HashMap<ClassKey, u32>,
    unused_classes: usize,
    /// Classes by queue and first label: a shape asks only for labels it has.
    classes_by_label: HashMap<(u32, Option<Box<str>>), Vec<u32>>,
    shapes: Slab<Shape>,
    shape_ids: HashMap<ShapeKey, u32>,
    unused_shapes: usize,
    shapes_by_label: HashMap<Box<str>, Vec<u32>>,
    /// Classes with a job and a free runner.
    active: BTreeSet<(Rank, u32)>,
    /// For each runner (by index): shape, share and position in its bucket while it is free.
    places: Vec<Option<(u32, u32, u32)>>,
    /// Counts dispatches; a project's turn is the count at its last one.
    turn: u64,
}

impl Index {
    // ---- classes

    /// The class of a job; counts one more use. Takes over the caller's count of
    /// the queue's name if the class is new, and gives it back otherwise.
    pub(super) fn class(&mut self, key: ClassKey, queues: &mut Names) -> u32 {
        if let Some(&at) = self.class_ids.get(&key) {
            queues.release(key.queue);
            let class = &mut self.classes[at];
            if class.uses == 0 {
                self.unused_classes -= 1;
            }
            class.uses += 1;
            return at;
        }
        if self.unused_classes > 64 + self.classes.len() / 2 {
            self.sweep_classes(queues);
        }
        let shapes = self.shapes_for(&key);
        let free = shapes.iter().copied().filter(|&s| !self.shapes[s].free.is_empty()).collect();
        let at = self.classes.insert(Class {
            key: key.clone(),
            levels: BTreeMap::new(),
            ready: 0,
            uses: 1,
            shapes,
            free,
            active: None,
        });
        for &shape in &self.classes[at].shapes {
            self.shapes[shape].classes.push(at);
        }
        self.classes_by_label.entry(label_slot(&key)).or_default().push(at);
        self.class_ids.insert(key, at);
        at
    }

    pub(super) fn release_class(&mut self, at: u32) {
        let class = &mut self.classes[at];
        class.uses -= 1;
        if class.uses == 0 {
            self.unused_classes += 1;
        }
    }

    /// Classes with the number of their jobs, in all and in lanes.
    pub(super) fn classes(&self) -> impl Iterator<Item = (u32, &ClassKey, u64, u64)> {
        self.classes.iter().map(|(at, class)| (at, &class.key, class.uses as u64, class.ready as u64))
    }

    /// Age and slot of the job of a class that came first, of those in lanes.
    pub(super) fn oldest(&self, at: u32) -> Option<(u64, u32)> {
        let lanes = self.classes[at].levels.values().flat_map(|level| level.lanes.values());
        lanes.filter_map(|lane| lane.jobs.first_key_value()).map(|(&seq, &slot)| (seq, slot)).min()
    }

    pub(super) fn class_key(&self, at: u32) -> &ClassKey {
        &self.classes[at].key
    }

    fn sweep_classes(&mut self, queues: &mut Names) {
        // One pass over each list, however many classes go.
        let gone: Vec<u32> = self.classes.iter().filter(|(_, c)| c.uses == 0).map(|(at, _)| at).collect();
        for &at in &gone {
            let Some(class) = self.classes.remove(at) else { continue };
            self.class_ids.remove(&class.key);
            queues.release(class.key.queue);
        }
        let classes = &self.classes;
        self.shapes.iter_mut().for_each(|shape| shape.classes.retain(|&c| classes.get(c).is_some()));
        self.classes_by_label.retain(|_, list| {
            list.retain(|&c| classes.get(c).is_some());
            !list.is_empty()
        });
        self.unused_classes = 0;
    }

    /// Shapes that match a new class: only those that have its rarest label are looked at.
    fn shapes_for(&self, key: &ClassKey) -> Vec<u32> {
        let matching = |at: &u32| self.shapes[*at].key.takes(key);
        if key.labels.as_slice().is_empty() {
            return self.shapes.iter().map(|(at, _)| at).filter(matching).collect();
        }
        let rarest = key
            .labels
            .as_slice()
            .iter()
            .map(|label| self.shapes_by_label.get(label.as_str()).map_or(&[][..], Vec::as_slice))
            .min_by_key(|shapes| shapes.len())
            .unwrap_or_default();
        rarest.iter().copied().filter(matching).collect()
    }

    // ---- shapes

    /// The shape of a runner; counts one more runner. Takes over the caller's
    /// counts of the queues' names if the shape is new, and gives them back otherwise.
    pub(super) fn shape(&mut self, key: ShapeKey, queues: &mut Names) -> u32 {
        if let Some(&at) = self.shape_ids.get(&key) {
            key.queues.iter().for_each(|&q| queues.release(q));
            let shape = &mut self.shapes[at];
            if shape.runners == 0 {
                self.unused_shapes -= 1;
            }
            shape.runners += 1;
            return at;
        }
        if self.unused_shapes > 64 + self.shapes.len() / 2 {
            self.sweep_shapes(queues);
        }
        let classes = self.classes_for(&key);
        let at = self.shapes.insert(Shape { key: key.clone(), runners: 1, classes, free: BTreeMap::new() });
        for &class in &self.shapes[at].classes {
            self.classes[class].shapes.push(at);
        }
        for label in key.labels.as_slice() {
            self.shapes_by_label.entry(label.as_str().into()).or_default().push(at);
        }
        self.shape_ids.insert(key, at);
        at
    }

    /// One runner fewer has this shape; it must not be free any more.
    pub(super) fn release_shape(&mut self, at: u32) {
        let shape = &mut self.shapes[at];
        shape.runners -= 1;
        if shape.runners == 0 {
            self.unused_shapes += 1;
        }
    }

    fn sweep_shapes(&mut self, queues: &mut Names) {
        let gone: Vec<u32> = self.shapes.iter().filter(|(_, s)| s.runners == 0).map(|(at, _)| at).collect();
        for &at in &gone {
            let Some(shape) = self.shapes.remove(at) else { continue };
            self.shape_ids.remove(&shape.key);
            shape.key.queues.iter().for_each(|&q| queues.release(q));
        }
        let shapes = &self.shapes;
        self.classes.iter_mut().for_each(|class| class.shapes.retain(|&s| shapes.get(s).is_some()));
        self.shapes_by_label.retain(|_, list| {
            list.retain(|&s| shapes.get(s).is_some());
            !list.is_empty()
        });
        self.unused_shapes = 0;
    }

    /// Classes that match a new shape: found by their first label.
    fn classes_for(&self, key: &ShapeKey) -> Vec<u32> {
        let mut found = Vec::new();
        for &queue in &key.queues {
            let labels = key.labels.as_slice().iter().map(|l| Some(Box::from(l.as_str())));
            for label in labels.chain([None]) {
                if let Some(classes) = self.classes_by_label.get(&(queue, label)) {
                    found.extend(classes.iter().copied().filter(|&c| key.takes(&self.classes[c].key)));
                }
            }
        }
        found
    }

    /// Says how many of a runner's slots may be given away: `None` if it takes nothing.
    pub(super) fn set_free(&mut self, runner: u32, shape: u32, free: Option<(u32, u32)>) {
        let share = free.map(|(free, slots)| {
            let share = u64::from(free) * u64::from(WHOLE) / u64::from(slots.max(1));
            u32::try_from(share).unwrap_or(WHOLE)
        });
        if self.places.len() <= runner as usize {
            self.places.resize(runner as usize + 1, None);
        }
        let before = self.places[runner as usize];
        if before.map(|(s, share, _)| (s, share)) == share.map(|share| (shape, share)) {
            return;
        }
        if let Some((old_shape, old_share, position)) = before {
            self.leave_bucket(runner, old_shape, old_share, position);
        }
        if let Some(share) = share {
            let bucket = self.shapes[shape].free.entry(Reverse(share)).or_default();
            let position = u32::try_from(bucket.len()).unwrap_or(u32::MAX);
            bucket.push(runner);
            self.places[runner as usize] = Some((shape, share, position));
        }
        for touched in [before.map(|b| b.0), Some(shape)].into_iter().flatten() {
            self.shape_changed(touched);
        }
    }

    fn leave_bucket(&mut self, runner: u32, shape: u32, share: u32, position: u32) {
        self.places[runner as usize] = None;
        let free = &mut self.shapes[shape].free;
        let Some(bucket) = free.get_mut(&Reverse(share)) else { return };
        bucket.swap_remove(position as usize);
        if let Some(&moved) = bucket.get(position as usize) {
            self.places[moved as usize] = Some((shape, share, position));
        } else if bucket.is_empty() {
            free.remove(&Reverse(share));
        }
    }

    /// Tells the matching classes whether this shape has a free runner.
    fn shape_changed(&mut self, at: u32) {
        let has_free = !self.shapes[at].free.is_empty();
        for i in 0..self.shapes[at].classes.len() {
            let id = self.shapes[at].classes[i];
            let class = &mut self.classes[id];
            let changed = if has_free { class.free.insert(at) } else { class.free.swap_remove(&at) };
            if !changed {
                return; // all classes of a shape are told at the same time
            }
            self.refresh(id);
        }
    }

    // ---- jobs

    /// Puts a job into its lane. `first` lets its project go first in its class.
    pub(super) fn push(&mut self, place: Place, slot: u32, first: bool) {
        let turn = if first { 0 } else { self.turn };
        let class = &mut self.classes[place.class];
        class.ready += 1;
        let level = class.levels.entry(Reverse(place.priority)).or_default();
        let lane = level.lanes.entry(place.project).or_insert_with(|| Lane { turn, jobs: BTreeMap::new() });
        let before = lane.head().map(|head| (lane.turn, head));
        lane.jobs.insert(place.seq, slot);
        if first {
            lane.turn = 0;
        }
        let after = (lane.turn, lane.head().unwrap_or(place.seq));
        if before != Some(after) {
            if let Some((turn, head)) = before {
                level.ring.remove(&(turn, head, place.project));
            }
            level.ring.insert((after.0, after.1, place.project));
            self.refresh(place.class);
        }
    }

    /// Takes a job out of its lane.
    pub(super) fn take(&mut self, place: Place) {
        let class = &mut self.classes[place.class];
        let Some(level) = class.levels.get_mut(&Reverse(place.priority)) else { return };
        let Some(lane) = level.lanes.get_mut(&place.project) else { return };
        let head = lane.head();
        if lane.jobs.remove(&place.seq).is_none() {
            return;
        }
        class.ready -= 1;
        if head != Some(place.seq) {
            return;
        }
        level.ring.remove(&(lane.turn, place.seq, place.project));
        if let Some(head) = lane.head() {
            level.ring.insert((lane.turn, head, place.project));
        } else {
            level.lanes.remove(&place.project);
            if level.lanes.is_empty() {
                class.levels.remove(&Reverse(place.priority));
            }
        }
        self.refresh(place.class);
    }

    /// The runner of this shape was given a job of this project: among all that
    /// the runner could take at this priority, the project goes to the end.
    pub(super) fn served(&mut self, shape: u32, priority: i32, project: u32) {
        self.turn += 1;
        let turn = self.turn;
        for i in 0..self.shapes[shape].classes.len() {
            let id = self.shapes[shape].classes[i];
            let class = &mut self.classes[id];
            let Some(level) = class.levels.get_mut(&Reverse(priority)) else { continue };
            let Some(lane) = level.lanes.get_mut(&project) else { continue };
            let Some(head) = lane.head() else { continue };
            level.ring.remove(&(lane.turn, head, project));
            lane.turn = turn;
            level.ring.insert((turn, head, project));
            self.refresh(id);
        }
    }

    /// Brings the class's entry among the active ones up to date.
    fn refresh(&mut self, at: u32) {
        let class = &mut self.classes[at];
        let now = if class.free.is_empty() { None } else { class.head().map(|(rank, _)| rank) };
        if class.active == now {
            return;
        }
        if let Some(rank) = class.active {
            self.active.remove(&(rank, at));
        }
        class.active = now;
        if let Some(rank) = now {
            self.active.insert((rank, at));
        }
    }

    /// The job that goes next among all that a free runner could take: its slot and class.
    pub(super) fn next(&self) -> Option<(u32, u32)> {
        let &(_, class) = self.active.first()?;
        let (_, slot) = self.classes[class].head()?;
        Some((slot, class))
    }

    /// The job that goes next to a runner of this shape, whether it is free or not.
    pub(super) fn next_for(&self, shape: u32) -> Option<u32> {
        let heads = self.shapes[shape].classes.iter().filter_map(|&c| self.classes[c].head());
        heads.min_by_key(|(rank, _)| *rank).map(|(_, slot)| slot)
    }

    /// A free runner for a class: the largest share of free slots, then chance.
    pub(super) fn pick_runner(&self, class: u32, chance: &mut dyn FnMut(usize) -> usize) -> Option<u32> {
        let shapes = &self.classes[class].free;
        let compared = shapes.len().min(SHAPES_COMPARED);
        let offset = if compared < shapes.len() { chance(shapes.len()) } else { 0 };
        let buckets = || {
            (0..compared).filter_map(move |i| {
                let shape = *shapes.get_index((offset + i) % shapes.len())?;
                let (share, runners) = self.shapes[shape].free.first_key_value()?;
                Some((share.0, runners))
            })
        };
        let best = buckets().map(|(share, _)| share).max()?;
        let equals = || buckets().filter(|(share, _)| *share == best).map(|(_, runners)| runners);
        let count = equals().map(Vec::len).sum();
        let mut nth = if count == 1 { 0 } else { chance(count).min(count - 1) };
        for runners in equals() {
            match runners.get(nth) {
                Some(&runner) => return Some(runner),
                None => nth -= runners.len(),
            }
        }
        None
    }

    /// How many jobs of the same queue go before a job, of those that `rivals` says
    /// ask for the same runners: all of a higher priority; at its own, what is before
    /// it in its lane, and of every other project as many, at most.
    pub(super) fn ahead(&self, place: Place, rivals: impl Fn(&ClassKey) -> bool) -> u64 {
        let queue = self.classes[place.class].key.queue;
        let own = self.classes[place.class].levels.get(&Reverse(place.priority));
        let own = own.and_then(|l| l.lanes.get(&place.project));
        let rank = own.map_or(0, |lane| rank_in(&lane.jobs, place.seq));
        let mut ahead = 0;
        for (id, class) in self.classes.iter().filter(|(_, c)| c.key.queue == queue && rivals(&c.key)) {
            for (priority, level) in class.levels.range(..=Reverse(place.priority)) {
                for (project, lane) in &level.lanes {
                    ahead += if priority.0 > place.priority {
                        lane.jobs.len()
                    } else if id == place.class && *project == place.project {
                        rank
                    } else {
                        lane.jobs.len().min(rank)
                    };
                }
            }
        }
        ahead as u64
    }
}

#[cfg(test)]
impl Index {
    /// Whether a job is in its lane.
    pub(super) fn holds(&self, place: Place) -> bool {
        let level = self.classes[place.class].levels.get(&Reverse(place.priority));
        level.and_then(|l| l.lanes.get(&place.project)).is_some_and(|l| l.jobs.contains_key(&place.seq))
    }

    /// Panics if two structures disagree; `ready` and `uses` are jobs by class.
    pub(super) fn check(&self, ready: &HashMap<u32, usize>, uses: &HashMap<u32, usize>) {
        let mut active = BTreeSet::new();
        for (at, class) in self.classes.iter() {
            assert_eq!(class.ready, ready.get(&at).copied().unwrap_or(0));
            assert_eq!(class.uses, uses.get(&at).copied().unwrap_or(0));
            for level in class.levels.values() {
                let ring: BTreeSet<_> =
                    level.lanes.iter().map(|(&p, lane)| (lane.turn, lane.head().unwrap(), p)).collect();
                assert_eq!(ring, level.ring);
            }
            let matching: BTreeSet<u32> =
                self.shapes.iter().filter(|(_, s)| s.key.takes(&class.key)).map(|(at, _)| at).collect();
            assert_eq!(matching, class.shapes.iter().copied().collect());
            let free: BTreeSet<u32> =
                matching.into_iter().filter(|&s| !self.shapes[s].free.is_empty()).collect();
            assert_eq!(free, class.free.iter().copied().collect());
            let rank = class.head().map(|(rank, _)| rank).filter(|_| !free.is_empty());
            assert_eq!(rank, class.active);
            active.extend(rank.map(|rank| (rank, at)));
        }
        assert_eq!(active, self.active);
        for (at, shape) in self.shapes.iter() {
            let classes: BTreeSet<u32> =
                self.classes.iter().filter(|(_, c)| c.shapes.contains(&at)).map(|(at, _)| at).collect();
            assert_eq!(classes, shape.classes.iter().copied().collect());
            for (share, runners) in &shape.free {
                assert!(!runners.is_empty());
                for (position, &runner) in (0..).zip(runners) {
                    assert_eq!(self.places[runner as usize], Some((at, share.0, position)));
                }
            }
        }
    }
}

impl Class {
    fn head(&self) -> Option<(Rank, u32)> {
        let (&priority, level) = self.levels.first_key_value()?;
        let &(turn, seq, project) = level.ring.first()?;
        let slot = *level.lanes.get(&project)?.jobs.get(&seq)?;
        Some(((priority, turn, seq), slot))
    }
}

/// How many keys are smaller; counted from the nearer end, since a lane may be long.
fn rank_in(jobs: &BTreeMap<u64, u32>, seq: u64) -> usize {
    let first = jobs.first_key_value().map_or(0, |(&s, _)| s);
    let last = jobs.last_key_value().map_or(0, |(&s, _)| s);
    if seq.saturating_sub(first) <= last.saturating_sub(seq) {
        jobs.range(..seq).count()
    } else {
        jobs.len() - jobs.range(seq..).count()
    }
}

fn label_slot(key: &ClassKey) -> (u32, Option<Box<str>>) {
    (key.queue, key.labels.as_slice().first().map(|l| Box::from(l.as_str())))
}
