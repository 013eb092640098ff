/** Plain text tables whose columns are as wide as their widest cell. */
export interface Column<Row> {
  readonly title: string;
  readonly cell: (row: Row) => string;
  readonly align?: "left" | "right";
}

export function formatTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): string {
  const lines = [columns.map(({ title }) => title), ...rows.map((row) => columns.map(({ cell }) => cell(row)))];
  const widths = columns.map((_, index) => lines.reduce((width, line) => Math.max(width, line[index]!.length), 0));
  const padded = (cell: string, index: number): string =>
    columns[index]!.align === "right" ? cell.padStart(widths[index]!) : cell.padEnd(widths[index]!);
  return lines.map((line) => `${line.map(padded).join("  ").trimEnd()}\n`).join("");
}
