-- Which programs needed most at one instant?
SELECT comm, count(*) AS processes, round(max(rss_max_bytes) / 1048576.0, 1) AS largest_mib,
       round(avg(rss_mean_bytes) / 1048576.0, 1) AS mean_mib
FROM processes GROUP BY comm ORDER BY largest_mib DESC LIMIT 8;

-- When was the machine fullest, and who was it?
WITH totals AS (SELECT ts, sum(anon_bytes) AS anon_bytes FROM samples GROUP BY ts),
     fullest AS (FROM totals ORDER BY anon_bytes DESC, ts LIMIT 1)
SELECT strftime(ts, '%H:%M:%S.%g UTC') AS "when", comm, pid, round(samples.anon_bytes / 1048576.0, 1) AS anon_mib,
       round(100.0 * samples.anon_bytes / fullest.anon_bytes, 1) AS percent
FROM samples JOIN fullest USING (ts) ORDER BY anon_mib DESC LIMIT 5;

-- How far can it be trusted?
SELECT count(*) AS ticks, sum(late::INT)::INT AS late, sum(missed)::INT AS missed, sum(dropped)::INT AS dropped,
       sum(gone)::INT AS gone, sum(denied)::INT AS denied, median(duration_us)::INT AS sweep_us FROM ticks;
