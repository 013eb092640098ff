/*
 * Line editing with a short history, on any terminal that knows ECMA-48's cursor keys and "erase in line" (8.3.41).
 * Whatever is typed in front of the cursor's end of line is redrawn with plain characters and backspaces.
 */
#include "console/line-editor.h"

#include "console/print.h"
#include "console/text.h"
#include "machine/serial.h"

#define CONTROL(letter) ((letter) & 0x1f)
#define BACKSPACE 0x08
#define ESCAPE 0x1b
#define DELETE 0x7f
#define ERASE_TO_END "\033[K"

/* Lines that are remembered; a power of two. */
#define HISTORY_LINES 8

/* Keys that come as an escape sequence, above all characters. */
enum key { KEY_UP = 0x100, KEY_DOWN, KEY_RIGHT, KEY_LEFT, KEY_HOME, KEY_END, KEY_DELETE, KEY_OTHER };

static char line[MAX_LINE];
static u32 length, cursor;

static char history[HISTORY_LINES][MAX_LINE];
static u32 history_count;

static void put(const char *text)
{
	print("%s", text);
}

static void cursor_left(u32 columns)
{
	while (columns--)
		put("\b");
}

/* Redraws from `from` to the end of the line, and puts the cursor where it belongs. */
static void redraw(u32 from)
{
	print_bytes(line + from, length - from);
	put(ERASE_TO_END);
	cursor_left(length - cursor);
}

static void move_to(u32 column)
{
	if (column < cursor)
		cursor_left(cursor - column);
	else
		print_bytes(line + cursor, column - cursor);
	cursor = column;
}

static void insert(char character)
{
	if (length == MAX_LINE - 1)
		return;
	for (u32 i = length++; i > cursor; i--)
		line[i] = line[i - 1];
	line[cursor++] = character;
	if (cursor == length)
		print_bytes(&character, 1);
	else
		redraw(cursor - 1);
}

static void erase(u32 from, u32 to)
{
	if (from == to)
		return;
	cursor_left(cursor > from ? cursor - from : 0);
	for (u32 i = to; i < length; i++)
		line[from + i - to] = line[i];
	length -= to - from;
	cursor = from;
	redraw(from);
}

static u32 start_of_word(void)
{
	u32 at = cursor;

	while (at && line[at - 1] == ' ')
		at--;
	while (at && line[at - 1] != ' ')
		at--;
	return at;
}

static void replace(const char *text)
{
	move_to(0);
	for (length = 0; text[length]; length++)
		line[length] = text[length];
	cursor = length;
	redraw(0);
}

/* Remembers the line, unless it is empty or the last one again. */
static void remember(void)
{
	char *entry = history[history_count % HISTORY_LINES];

	if (!length || (history_count && text_equal(line, history[(history_count - 1) % HISTORY_LINES])))
		return;
	for (u32 i = 0; i <= length; i++)
		entry[i] = line[i];
	history_count++;
}

/* Shows the line that was entered `age` lines ago, 0 being a new one; false when it is forgotten. */
static bool recall(u32 age)
{
	if (age > history_count || age > HISTORY_LINES)
		return false;
	replace(age ? history[(history_count - age) % HISTORY_LINES] : "");
	return true;
}

/* The final character of a control sequence says which key it was; a number before it, for some keys (ECMA-48, 5.4). */
static enum key escape_sequence(void)
{
	char introducer = serial_read();
	u32 number = 0;
	char final;

	if (introducer != '[' && introducer != 'O')
		return KEY_OTHER;
	while ((final = serial_read()) < '@')
		if (final >= '0' && final <= '9')
			number = 10 * number + final - '0';
	switch (final) {
	case 'A': return KEY_UP;
	case 'B': return KEY_DOWN;
	case 'C': return KEY_RIGHT;
	case 'D': return KEY_LEFT;
	case 'H': return KEY_HOME;
	case 'F': return KEY_END;
	case '~': return number == 3 ? KEY_DELETE : number == 1 ? KEY_HOME : number == 4 ? KEY_END : KEY_OTHER;
	default: return KEY_OTHER;
	}
}

/* A key. The LF of a CR LF is not one of its own. */
static u32 read_key(void)
{
	static bool after_cr;
	u8 character;
	bool swallow;

	do {
		character = serial_read();
		swallow = character == '\n' && after_cr;
		after_cr = character == '\r';
	} while (swallow);
	return character == ESCAPE ? escape_sequence() : character;
}

char *line_read(const char *prompt)
{
	u32 age = 0;

	length = cursor = 0;
	put(prompt);
	for (;;) {
		u32 key = read_key();

		switch (key) {
		case '\r':
		case '\n':
			print("\n");
			line[length] = 0;
			remember();
			return line;
		case BACKSPACE:
		case DELETE:
			erase(cursor ? cursor - 1 : 0, cursor);
			break;
		case KEY_DELETE:
			erase(cursor, cursor < length ? cursor + 1 : cursor);
			break;
		case CONTROL('W'):
			erase(start_of_word(), cursor);
			break;
		case CONTROL('U'):
			erase(0, cursor);
			break;
		case CONTROL('K'):
			erase(cursor, length);
			break;
		case CONTROL('C'):
			print("^C\n");
			length = cursor = age = 0;
			put(prompt);
			break;
		case KEY_LEFT:
		case CONTROL('B'):
			move_to(cursor ? cursor - 1 : 0);
			break;
		case KEY_RIGHT:
		case CONTROL('F'):
			move_to(cursor < length ? cursor + 1 : length);
			break;
		case KEY_HOME:
		case CONTROL('A'):
			move_to(0);
			break;
		case KEY_END:
		case CONTROL('E'):
			move_to(length);
			break;
		case KEY_UP:
		case CONTROL('P'):
			age += recall(age + 1);
			break;
		case KEY_DOWN:
		case CONTROL('N'):
			if (age && recall(age - 1))
				age--;
			break;
		default:
			if (key >= ' ' && key < DELETE)
				insert(key);
		}
	}
}
