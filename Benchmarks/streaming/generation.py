"""Streamed generation, measured in turn with the disk. A module, not a program."""
from measuring import Run, medians, note, peak_text, size_text
from programs import Report, relative


def decode_row(run, rate):
    """The figures of one run of `lamina-run generate --json`, with fio's best rate beside it."""
    report = Report(run.output)
    stream = report.pass_read / report.pass_seconds
    return {
        "rate": 1 / report.pass_seconds, "seconds": report.pass_seconds, "bytes": report.pass_read, "stream": stream,
        "fio": rate, "ratio": stream / rate, "cpu": run.cpu / report["bytes_read"] * 1e9, "peak": run.peak,
        "mode": mode_text(report), "resident": report["resident_bytes"], "pass": report["pass_bytes"],
        "isa": report["isa"], "forecast_seconds": report.forecast("seconds"),
        "forecast_bytes": report.forecast("bytes"), "forecast_rate": report.forecast("rate"),
        "forecast_compute": report.forecast("compute"), "expert_hits": report.get("expert_hit_rate"), "achieved": report.forecast("achieved") or stream}


def mode_text(report):
    depth = report.get("io_depth")
    return f"{report['io_mode']} x {depth}" if depth else report["io_mode"]


def decode_rows(disk, command, limit, rounds, environment=None):
    """Rounds of fio, generation in a cgroup, fio."""
    rows = []
    for number in range(rounds):
        run, rate = disk.beside(lambda: Run(command, limit, environment))
        rows.append(decode_row(run, rate))
        note(f"round {number + 1}: {rows[-1]['rate']:.3f} tok/s, {rows[-1]['stream'] / 1e9:.2f} GB/s, fio "
             f"{rate / 1e9:.2f} GB/s")
    return rows


def decode_lines(rows, budget, limit, tokens):
    """Cells of a table: what, result, peak memory."""
    median = medians(rows)
    return [
        [f"generate with {size_text(budget)} in a cgroup of {size_text(limit)}, {tokens} tokens (median of "
         f"{len(rows)})",
         f"{median['rate']:.3f} tok/s, {median['bytes'] / 1e9:.3f} GB read per token, "
         f"{median['resident'] / 1e9:.3f} GB resident, {rows[0]['mode']}, {rows[0]['isa']}",
         peak_text(*(row["peak"] for row in rows))],
        ["… disk rate; fio's best beside it; **median of ratios**",
         f"{median['stream'] / 1e9:.2f} GB/s; {median['fio'] / 1e9:.2f} GB/s; **{100 * median['ratio']:.0f} %**", ""],
    ]


def forecast_error(row, rate=None):
    """By how much the seconds per token were off the forecast, in percent; with another disk rate in it, if given."""
    foreseen = row["forecast_seconds"]
    if rate:
        foreseen = max(row["forecast_bytes"] / rate, row["forecast_compute"] or 0)
    return 100 * (row["seconds"] / foreseen - 1)


def forecast_lines(rows):
    """How good the forecast was: as it was made, and with the rate the disk then had instead of the one foreseen."""
    median = medians(rows)
    if "forecast_seconds" not in median:
        return [["… forecast", "none in the report", ""]]
    errors = medians([{"plain": forecast_error(row), "achieved": forecast_error(row, row["achieved"]),
                       "fio": forecast_error(row, row["fio"])} for row in rows])
    return [
        ["… forecast (median)",
         f"{median['forecast_seconds']:.2f} s per token, {median['forecast_bytes'] / 1e9:.3f} GB at "
         f"{median['forecast_rate'] / 1e9:.2f} GB/s; it took {median['seconds']:.2f} s", ""],
        ["… error of the forecast (median): seconds; at the rate achieved; at fio's rate; bytes",
         f"{errors['plain']:+.1f} %; {errors['achieved']:+.1f} %; {errors['fio']:+.1f} %; "
         f"{relative(median['bytes'], median['forecast_bytes'])}", ""],
    ]
