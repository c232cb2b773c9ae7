/**
 * Lines that speak to the viewer: groups and annotations, as actions write them
 * (`::error file=a.c,line=3::text`, `##[group]title`). It only reads; what a line looks
 * like is decided elsewhere.
 */

/** What a line says. */
export type CommandKind = 'group' | 'endgroup' | 'error' | 'warning' | 'notice' | 'debug' | 'command' | 'section';

/** A line that is a command. */
export interface Command {
  readonly kind: CommandKind;
  readonly text: string;
  /** Where an annotation points: `file:line:column`. */
  readonly place: string | undefined;
}

const KINDS: ReadonlySet<string> = new Set(['group', 'endgroup', 'error', 'warning', 'notice', 'debug', 'command', 'section']);
const COMMAND = /^\s*(?:::([a-z]+)((?: [^\n]*?)?)::|##\[([a-z]+)((?: [^\]\n]*)?)\])([^]*)$/i;

/** The command in a line; `undefined` if it is ordinary text. */
export function parseCommand(raw: string): Command | undefined {
  // Nearly every line is ordinary, and its first characters tell.
  if (!/^[ \t]*(?:::|##)/.test(raw)) return undefined;
  const match = COMMAND.exec(raw);
  if (match === null) return undefined;
  const old = match[3] !== undefined;
  const kind = (match[1] ?? match[3] ?? '').toLowerCase();
  if (!KINDS.has(kind)) return undefined;
  const text = (match[5] ?? '').replace(/\r$/, '');
  const properties = (old ? match[4] : match[2]) ?? '';
  return {
    kind: kind as CommandKind,
    text: old ? text : unescape(text),
    place: place(properties),
  };
}

function unescape(text: string): string {
  return text.replace(/%0D/gi, '\r').replace(/%0A/gi, '\n').replace(/%25/g, '%');
}

function place(properties: string): string | undefined {
  const values = new Map<string, string>();
  for (const part of properties.trim().split(/[,;]/)) {
    const equals = part.indexOf('=');
    if (equals > 0) {
      const value = part
        .slice(equals + 1)
        .replace(/%3A/gi, ':')
        .replace(/%2C/gi, ',');
      values.set(part.slice(0, equals).trim().toLowerCase(), unescape(value));
    }
  }
  const file = values.get('file');
  if (file === undefined || file === '') return undefined;
  const line = values.get('line');
  const column = values.get('col');
  return [file, line, line === undefined ? undefined : column].filter((p) => p !== undefined && p !== '').join(':');
}
