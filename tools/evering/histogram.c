// SPDX-License-Identifier: MIT
/* Counts of times in buckets that are never wider than 1/32 of their value. */
#include "histogram.h"

#include <math.h>
#include <string.h>

#include "format.h"
#include "terminal.h"

#define DRAW_ROWS_MAX 24

void histogram_clear(struct histogram *histogram)
{
	memset(histogram, 0, sizeof(*histogram));
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
	into->nr += from->nr;
	if (from->max > into->max)
		into->max = from->max;
	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++)
		into->counts[i] += from->counts[i];
}

static double bucket_middle(unsigned int bucket)
{
	unsigned int shift;
	uint64_t low;

	if (bucket < (2U << HISTOGRAM_SUB_BITS))
		return bucket;
	shift = (bucket >> HISTOGRAM_SUB_BITS) - 1;
	low = (uint64_t)(bucket - (shift << HISTOGRAM_SUB_BITS)) << shift;
	return (double)low + (double)((1ULL << shift) - 1) / 2;
}

double histogram_at(const struct histogram *histogram, double fraction)
{
	uint64_t wanted = (uint64_t)ceil(fraction * (double)histogram->nr);
	uint64_t seen = 0;

	if (!histogram->nr)
		return 0;
	if (wanted < 1)
		wanted = 1;
	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += histogram->counts[i];
		if (seen >= wanted && histogram->counts[i])
			return fmin(bucket_middle(i), (double)histogram->max);
	}
	return (double)histogram->max;
}

/* Sums the buckets into @rows steps of a logarithmic scale from @low to @high. */
static uint64_t sum_rows(const struct histogram *histogram, uint64_t *sums, int rows, double low,
			 double high)
{
	double step = log(high / low) / rows;
	uint64_t largest = 0;

	memset(sums, 0, (size_t)rows * sizeof(*sums));
	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++) {
		double middle = bucket_middle(i);
		int row = middle <= low ? 0 : (int)(log(middle / low) / step);

		if (row >= rows)
			row = rows - 1;
		sums[row] += histogram->counts[i];
	}
	for (int i = 0; i < rows; i++)
		largest = sums[i] > largest ? sums[i] : largest;
	return largest;
}

void histogram_draw(const struct histogram *histogram, FILE *to, int rows, int columns,
		    double ns_per_unit)
{
	double low = fmax(histogram_at(histogram, 0.001) * 0.97, 1);
	double high = fmax(histogram_at(histogram, 0.9995), low * 1.2);
	uint64_t sums[DRAW_ROWS_MAX];
	uint64_t largest;

	if (rows > DRAW_ROWS_MAX)
		rows = DRAW_ROWS_MAX;
	if (!histogram->nr)
		return;
	largest = sum_rows(histogram, sums, rows, low, high);
	for (int i = 0; i < rows; i++) {
		double from = low * pow(high / low, (double)i / rows);
		char text[FORMAT_SZ];

		fprintf(to, "  %9s  ", format_time(text, from * ns_per_unit));
		terminal_bar(to, (double)sums[i] / (double)largest, columns);
		fprintf(to, " %5.1f %%\n", 100.0 * (double)sums[i] / (double)histogram->nr);
	}
}
