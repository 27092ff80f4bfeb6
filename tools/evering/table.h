/* SPDX-License-Identifier: MIT */
/* Columns of text that are as wide as they need to be. */
#ifndef EVERING_TABLE_H
#define EVERING_TABLE_H

#include <stdio.h>

#define TABLE_COLUMNS_MAX 12

struct table {
	int columns_nr;
	int rows_nr;
	int rows_max;
	int widths[TABLE_COLUMNS_MAX];
	const char *align; /* one of "lr" for each column */
	char **cells; /* rows_nr * columns_nr */
};

/* @heads ends with NULL and is the first row; @align has an 'l' or 'r' for each column. */
void table_init(struct table *table, const char *align, const char *const *heads);
void table_fini(struct table *table);

/* Adds a row; @cells are copied. */
void table_add(struct table *table, const char *const *cells);

/* Writes all rows, each after @indent. */
void table_print(const struct table *table, FILE *to, const char *indent);

#endif
