/** A letter and three hexadecimal digits: the names of things that come in numbers, up to 4096 of a kind. */
export function indexed(letter: string, index: number): string {
  return `${letter}${index.toString(16).toUpperCase().padStart(3, "0")}`;
}
