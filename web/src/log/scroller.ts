/**
 * Moves a window of rows over a log that is far taller than a page can be. Rows lie in the
 * page's own flow, so that each is as high as its text needs; this room decides which rows
 * those are, puts the window where they belong, and keeps what people look at where it is
 * while rows above it change their heights. It never looks into a row.
 */
import { fromScroll, type Geometry, isJump, scrollEnd, scrollHeight, toScroll, walk } from './scroll-map';

/** Rows that are drawn: from `first` up to and without `end`. */
export interface Range {
  readonly first: number;
  readonly end: number;
}

/** What the scroller tells. */
export interface ScrollerHooks {
  /** Other rows are to be drawn, `now` or soon; `layout` is to be called when they are. */
  draw(range: Range, now: boolean): void;
  /** Somebody scrolled; `end` if they came to the end of the log. */
  moved(end: boolean, up: boolean): void;
  /** Another row is at the top. */
  top(row: number): void;
}

/** Where a row is wanted, in pixels below the upper edge. */
interface Pin {
  readonly row: number;
  readonly y: number;
}

/** Height of a row whose text fits in one line, as in the style sheet. */
export const ROW_HEIGHT = 20;

const IDLE_MS = 140;

/** One log on one page. */
export class Scroller {
  private readonly hooks: ScrollerHooks;
  private outer: HTMLElement | undefined;
  private spacer: HTMLElement | undefined;
  private inner: HTMLElement | undefined;
  private rows = 0;
  private viewport = 600;
  /** Rows that are wanted, and those that are there. */
  private range: Range = { first: 0, end: 0 };
  private shown: Range = { first: 0, end: 0 };
  /** What is at the top. */
  private place = { row: 0, part: 0 };
  private pin: Pin | undefined;
  private atEnd = true;
  /** Where the window begins, in pixels of the spacer. */
  private offset = 0;
  /** Where rows of the window begin, in pixels of the window; one more for its end. */
  private tops: number[] = [0];
  private scrolled = 0;
  private held = false;
  /** Width of the scroll bar, for what floats beside it. */
  private bar = '';
  /** The bar may be moved although nobody jumped. */
  private settles = false;
  private idle: ReturnType<typeof setTimeout> | undefined;
  private resized: ResizeObserver | undefined;

  constructor(hooks: ScrollerHooks) {
    this.hooks = hooks;
  }

  /** Takes the elements: what scrolls, what gives it its height, and the window of rows. */
  attach(outer: HTMLElement, spacer: HTMLElement, inner: HTMLElement): () => void {
    this.outer = outer;
    this.spacer = spacer;
    this.inner = inner;
    this.viewport = outer.clientHeight;
    const press = (event: PointerEvent): void => {
      this.held = event.target === outer;
    };
    const release = (): void => {
      this.held = false;
      this.settleLater();
    };
    outer.addEventListener('scroll', this.onScroll, { passive: true });
    outer.addEventListener('pointerdown', press);
    addEventListener('pointerup', release);
    this.resized = new ResizeObserver(() => {
      if (outer.clientHeight === this.viewport) return;
      this.viewport = outer.clientHeight;
      this.show(false);
    });
    this.resized.observe(outer);
    this.redraw(false);
    return () => {
      outer.removeEventListener('scroll', this.onScroll);
      outer.removeEventListener('pointerdown', press);
      removeEventListener('pointerup', release);
      this.resized?.disconnect();
      clearTimeout(this.idle);
      this.outer = undefined;
    };
  }

  /** How many rows there are now; `move` says where a row of before went. */
  setRows(rows: number, move?: (row: number) => number): void {
    this.rows = rows;
    if (move !== undefined) {
      if (this.pin !== undefined) this.pin = { row: move(this.pin.row), y: this.pin.y };
      else if (!this.atEnd) this.place = { ...this.place, row: move(this.place.row) };
    }
    this.place = { ...this.place, row: Math.max(0, Math.min(this.place.row, rows - 1)) };
    this.redraw(false);
  }

  /** Keeps a row that is drawn where it is, while others change. */
  hold(row: number): void {
    const top = this.topOf(row);
    if (this.outer === undefined || top === undefined) return;
    this.atEnd = false;
    this.pin = { row, y: this.offset + top - this.outer.scrollTop };
  }

  /** Shows the end, and keeps showing it while rows are added. */
  toEnd(): void {
    this.atEnd = true;
    this.pin = undefined;
    this.show(false);
  }

  /** Shows a row, `share` of the visible height below the upper edge. */
  toRow(row: number, share: number): void {
    this.atEnd = false;
    this.pin = { row: Math.max(0, Math.min(row, this.rows - 1)), y: Math.round(this.viewport * share) };
    this.show(false);
  }

  /** Shows a row if it is not visible already. */
  ensureRow(row: number): void {
    const outer = this.outer;
    const top = this.topOf(row);
    if (outer !== undefined && top !== undefined) {
      const y = this.offset + top - outer.scrollTop;
      if (y >= ROW_HEIGHT && y <= this.viewport - 3 * ROW_HEIGHT) return;
    }
    this.toRow(row, 0.35);
  }

  /** Whether the end of the log is visible. */
  get ended(): boolean {
    return this.atEnd;
  }

  /** To be called whenever rows were drawn: measures them and puts them where they belong. */
  drawn(range: Range): void {
    this.shown = range;
    this.layout();
  }

  private layout(): void {
    const { outer, spacer, inner, shown } = this;
    if (outer === undefined || spacer === undefined || inner === undefined) return;
    // Others are on their way.
    if (shown.first !== this.range.first || shown.end !== this.range.end) return;
    this.measure(outer, inner);
    const geometry = this.geometry();
    spacer.style.height = `${scrollHeight(geometry)}px`;
    const height = this.tops.at(-1) ?? 0;
    const end = scrollEnd(geometry);
    let y = this.wantedTop(height);
    if (shown.first === 0 && y < 0) y = 0;
    if (shown.end >= this.rows && y >= height - this.viewport) {
      y = Math.max(shown.first === 0 ? 0 : -Infinity, height - this.viewport);
      this.atEnd = true;
    }
    const jumped = this.pin !== undefined;
    this.pin = undefined;
    this.setPlace(y);
    const top = this.atEnd ? end : toScroll(this.place, geometry);
    // While somebody pulls the bar or scrolls, it stays where their hand put it.
    if (this.atEnd || jumped || this.settles) this.scrollTo(top);
    this.offset = this.scrolled - y;
    inner.style.transform = `translateY(${this.offset}px)`;
    if (this.short(y, height)) this.redraw(false);
  }

  private readonly onScroll = (): void => {
    const outer = this.outer;
    if (outer === undefined) return;
    const top = outer.scrollTop;
    if (Math.abs(top - this.scrolled) < 1) return;
    const before = this.scrolled;
    this.scrolled = top;
    const geometry = this.geometry();
    const up = top < before;
    const wasEnd = this.atEnd;
    this.atEnd = false;
    if (isJump(before, top, geometry)) {
      this.place = fromScroll(top, geometry);
      this.atEnd = top >= scrollEnd(geometry) - 1;
      this.show(true);
    } else {
      this.step(top, top - before, geometry);
    }
    this.hooks.moved(this.atEnd || (wasEnd && !up), up);
    this.settleLater();
  };

  /** A small movement: the window stands still, what is visible of it changes. */
  private step(top: number, pixels: number, geometry: Geometry): void {
    const y = top - this.offset;
    const height = this.tops.at(-1) ?? 0;
    if (y >= 0 && y < height) {
      this.setPlace(y);
    } else {
      this.place = walk(this.place, pixels, geometry, () => undefined);
      this.show(true);
      return;
    }
    const end = this.shown.end >= this.rows && y >= height - this.viewport - 1;
    const beginning = this.shown.first === 0 && y <= 0;
    const stuck = (top <= 0 && !beginning) || (top >= scrollEnd(geometry) - 1 && !end);
    if (end || stuck) {
      this.atEnd = end;
      this.settles = true;
      this.layout();
      this.settles = false;
    }
    const margin = this.viewport / 2;
    const above = y < margin && this.shown.first > 0;
    const below = y + this.viewport > height - margin && this.shown.end < this.rows;
    if (above || below) this.redraw(true);
  }

  /** When nobody scrolls any more, the bar goes where it belongs; nothing else moves. */
  private settleLater(): void {
    clearTimeout(this.idle);
    this.idle = setTimeout(() => {
      if (this.held || this.outer === undefined) return;
      this.settles = true;
      this.layout();
      this.settles = false;
    }, IDLE_MS);
  }

  private geometry(): Geometry {
    return { rows: this.rows, rowHeight: ROW_HEIGHT, viewport: this.viewport };
  }

  /** Where the visible part is to begin, in pixels of the window. */
  private wantedTop(height: number): number {
    if (this.atEnd) return height - this.viewport;
    if (this.pin !== undefined) {
      return (this.tops[this.pin.row - this.shown.first] ?? 0) - this.pin.y;
    }
    const index = this.place.row - this.shown.first;
    const top = this.tops[index] ?? 0;
    return top + this.place.part * ((this.tops[index + 1] ?? top) - top);
  }

  private setPlace(y: number): void {
    let low = 0;
    let high = this.tops.length - 2;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if ((this.tops[middle] ?? 0) <= y) low = middle;
      else high = middle - 1;
    }
    const top = this.tops[low] ?? 0;
    const height = Math.max(1, (this.tops[low + 1] ?? top) - top);
    const row = this.shown.first + Math.max(0, low);
    if (row !== this.place.row) this.hooks.top(row);
    this.place = { row, part: Math.min(Math.max((y - top) / height, 0), 0.999_999) };
  }

  private measure(outer: HTMLElement, inner: HTMLElement): void {
    const bar = `${outer.offsetWidth - outer.clientWidth}px`;
    if (bar !== this.bar) {
      this.bar = bar;
      outer.parentElement?.style.setProperty('--log-scrollbar', bar);
    }
    const tops: number[] = [];
    for (let child = inner.firstElementChild; child instanceof HTMLElement; child = child.nextElementSibling as HTMLElement | null) {
      tops.push(child.offsetTop);
    }
    tops.push(inner.offsetHeight);
    this.tops = tops;
  }

  private scrollTo(top: number): void {
    if (this.outer === undefined) return;
    if (Math.abs(this.outer.scrollTop - top) >= 0.5) this.outer.scrollTop = top;
    // The browser rounds; what it made of it is what the next event is compared with.
    this.scrolled = this.outer.scrollTop;
  }

  /** Whether rows are missing at an edge of the visible part. */
  private short(y: number, height: number): boolean {
    return (y < 0 && this.shown.first > 0) || (y + this.viewport > height && this.shown.end < this.rows);
  }

  /** Says which rows are to be drawn, if they are others than now. */
  private redraw(now: boolean): boolean {
    const visible = Math.ceil(this.viewport / ROW_HEIGHT);
    const margin = visible;
    let first = this.place.row - margin;
    let end = this.place.row + visible + margin;
    if (this.atEnd) {
      end = this.rows;
      first = end - visible - margin;
    } else if (this.pin !== undefined) {
      const above = Math.ceil(this.pin.y / ROW_HEIGHT);
      first = this.pin.row - above - margin;
      end = this.pin.row + visible - above + margin;
    }
    end = Math.max(0, Math.min(end, this.rows));
    first = Math.max(0, Math.min(first, end));
    if (first === this.range.first && end === this.range.end) return false;
    this.range = { first, end };
    this.hooks.draw(this.range, now);
    return true;
  }

  /** Goes where it is told to: with the rows that are there, or as soon as others are. */
  private show(now: boolean): void {
    if (!this.redraw(now)) this.layout();
  }

  /** Where a row begins that is drawn, in pixels of the window. */
  private topOf(row: number): number | undefined {
    const { first, end } = this.shown;
    return row >= first && row < end ? this.tops[row - first] : undefined;
  }
}
