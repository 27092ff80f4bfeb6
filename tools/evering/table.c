// SPDX-License-Identifier: MIT
/* Columns of text that are as wide as they need to be. */
#include "table.h"

#include <stdlib.h>
#include <string.h>

void table_init(struct table *table, const char *align, const char *const *heads)
{
	*table = (struct table){ .columns_nr = (int)strlen(align), .align = align };
	if (heads)
		table_add(table, heads);
}

void table_fini(struct table *table)
{
	for (int i = 0; i < table->rows_nr * table->columns_nr; i++)
		free(table->cells[i]);
	free(table->cells);
	*table = (struct table){ 0 };
}

static void make_room(struct table *table)
{
	if (table->rows_nr < table->rows_max)
		return;
	table->rows_max = table->rows_max ? 2 * table->rows_max : 16;
	table->cells = realloc(table->cells,
			       (size_t)(table->rows_max * table->columns_nr) * sizeof(char *));
	if (!table->cells)
		abort();
}

void table_add(struct table *table, const char *const *cells)
{
	make_room(table);
	for (int i = 0; i < table->columns_nr; i++) {
		char *copy = strdup(cells[i]);
		int width;

		if (!copy)
			abort();
		width = (int)strlen(copy);
		if (width > table->widths[i])
			table->widths[i] = width;
		table->cells[table->rows_nr * table->columns_nr + i] = copy;
	}
	table->rows_nr++;
}

void table_print(const struct table *table, FILE *to, const char *indent)
{
	for (int row = 0; row < table->rows_nr; row++) {
		char *const *cells = table->cells + row * table->columns_nr;

		fputs(indent, to);
		for (int i = 0; i < table->columns_nr; i++) {
			int last = i == table->columns_nr - 1;
			int width = table->align[i] == 'r' ? table->widths[i] :
				    last		   ? 0 :
							     -table->widths[i];

			fprintf(to, "%*s%s", width, cells[i], last ? "\n" : "  ");
		}
	}
}
