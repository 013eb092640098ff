/** Times as a small picture: one character for each factor of four, from 64 ns to a second, higher where there are more. */
const FIRST_OCTAVE = 6;
const OCTAVES_PER_CHARACTER = 2;
const CHARACTERS = 12;
const BLOCKS = "▁▂▃▄▅▆▇█";

export const HISTOGRAM_WIDTH = CHARACTERS;
/** What stands over it says where a microsecond and a millisecond are: at 2^10 and 2^20 ns. */
export const HISTOGRAM_TITLE = "ns us   ms s";

/** @param octaves counts by the highest bit of the time in ns; null when there are none */
export function histogramText(octaves: readonly number[] | null): string {
  if (octaves === null) return "-";
  const counts = new Array<number>(CHARACTERS).fill(0);
  octaves.forEach((count, octave) => {
    const index = Math.floor((octave - FIRST_OCTAVE) / OCTAVES_PER_CHARACTER);
    counts[Math.min(Math.max(index, 0), CHARACTERS - 1)]! += count;
  });
  const most = Math.max(...counts);
  return counts.map((count) => (count === 0 ? " " : BLOCKS[level(count, most)])).join("");
}

/** Rare times are what one looks for: the height goes by the logarithm, three decades in all. */
function level(count: number, most: number): number {
  const decades = 3;
  const height = 1 + Math.log10(count / most) / decades;
  return Math.min(BLOCKS.length - 1, Math.max(0, Math.floor(height * BLOCKS.length)));
}
