/**
 * Takes a stream of server-sent events apart. Written for `fetch`, because the browser's
 * own `EventSource` hides the status of an answer: a log that is gone and a network that
 * is gone would look the same. It must not keep more than one unfinished event.
 */

/** One event. */
export interface ServerEvent {
  readonly event: string;
  readonly data: string;
  readonly id: string | undefined;
}

/** An event longer than this is refused. */
const LONGEST = 64 << 20;

/** Collects text and gives the events that are complete. */
export class EventReader {
  private rest = '';
  private event = '';
  private data: string[] = [];
  private id: string | undefined;

  /** Takes the next piece of the stream. */
  push(text: string): ServerEvent[] {
    const events: ServerEvent[] = [];
    this.rest += text;
    if (this.rest.length > LONGEST) {
      throw new Error('an event of the stream is too long');
    }
    let from = 0;
    for (;;) {
      const end = this.rest.indexOf('\n', from);
      if (end < 0) break;
      const line = this.rest.slice(from, this.rest.charCodeAt(end - 1) === 0x0d && end > from ? end - 1 : end);
      from = end + 1;
      const done = this.line(line);
      if (done !== undefined) {
        events.push(done);
      }
    }
    this.rest = this.rest.slice(from);
    return events;
  }

  private line(line: string): ServerEvent | undefined {
    if (line === '') {
      const done =
        this.data.length === 0
          ? undefined
          : { event: this.event === '' ? 'message' : this.event, data: this.data.join('\n'), id: this.id };
      this.event = '';
      this.data = [];
      return done;
    }
    const colon = line.indexOf(':');
    if (colon === 0) return undefined;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(line.charCodeAt(colon + 1) === 0x20 ? colon + 2 : colon + 1);
    if (field === 'data') {
      this.data.push(value);
    } else if (field === 'event') {
      this.event = value;
    } else if (field === 'id' && !value.includes('\0')) {
      this.id = value;
    }
    return undefined;
  }
}
