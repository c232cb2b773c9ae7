/**
 * Colours that a line names itself (256 colours, true colours), made readable on a light
 * and on a dark page. The sixteen named colours are variables of the style sheet and not
 * decided here. Pure.
 */
import { type Colour, TRUE_COLOUR } from './ansi';

/** Red, green and blue, 0 to 255. */
export type Rgb = readonly [number, number, number];

/** Whether a colour is one of the sixteen that the theme decides. */
export function isNamed(colour: Colour): boolean {
  return colour < 16;
}

/** The parts of a colour that is not named. */
export function rgbOf(colour: Colour): Rgb {
  if (colour >= TRUE_COLOUR) return [(colour >> 16) & 255, (colour >> 8) & 255, colour & 255];
  if (colour >= 232) {
    const grey = 8 + (colour - 232) * 10;
    return [grey, grey, grey];
  }
  const index = Math.max(0, colour - 16);
  const level = (n: number): number => (n === 0 ? 0 : 55 + n * 40);
  return [level(Math.floor(index / 36)), level(Math.floor(index / 6) % 6), level(index % 6)];
}

/** Relative luminance as the accessibility guidelines define it, 0 to 1. */
export function luminance([r, g, b]: Rgb): number {
  const part = (value: number): number => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  };
  return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
}

/** Contrast of two colours, 1 to 21. */
export function contrast(a: Rgb, b: Rgb): number {
  const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return ((light ?? 0) + 0.05) / ((dark ?? 0) + 0.05);
}

/** The lightest and the darkest ground that text of the log stands on. */
export const LIGHT_GROUND: Rgb = [246, 248, 250];
/** See {@link LIGHT_GROUND}. */
export const DARK_GROUND: Rgb = [22, 27, 34];

/** The least contrast of text (AA). */
export const READABLE = 4.5;

/** The colour, moved towards black or white until it can be read on `ground`. */
export function readable(colour: Rgb, ground: Rgb): Rgb {
  if (contrast(colour, ground) >= READABLE) return colour;
  const target = luminance(ground) > 0.18 ? 0 : 255;
  let low = 0;
  let high = 1;
  for (let i = 0; i < 8; i += 1) {
    const middle = (low + high) / 2;
    if (contrast(mix(colour, target, middle), ground) >= READABLE) {
      high = middle;
    } else {
      low = middle;
    }
  }
  return mix(colour, target, high);
}

function mix(colour: Rgb, target: number, share: number): Rgb {
  const part = (value: number): number => Math.round(value + (target - value) * share);
  return [part(colour[0]), part(colour[1]), part(colour[2])];
}

/** In the syntax of style sheets. */
export function css([r, g, b]: Rgb): string {
  return `rgb(${r} ${g} ${b})`;
}
