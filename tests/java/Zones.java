// Writes src/partition/pattern/zones.txt: what Java calls each of its time zones in US English.
//
//     java tests/java/Zones.java > src/partition/pattern/zones.txt
//
// A line has the names that `z` prints in winter and in summer and `v` prints, short and then long, and
// the zones that have them. A zone that has had no summer time since 1970 has the name that it would
// have. Take JDK 17: its names are Firehose's.

import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.ZoneId;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.time.zone.ZoneOffsetTransition;
import java.time.zone.ZoneRules;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TimeZone;
import java.util.TreeMap;
import java.util.TreeSet;

public class Zones {
    static final Instant FROM = Instant.parse("1970-01-01T00:00:00Z");
    static final Instant UNTIL = Instant.parse("2037-01-01T00:00:00Z");

    public static void main(String[] arguments) {
        Map<String, List<String>> zones = new TreeMap<>();
        for (String id : new TreeSet<>(ZoneId.getAvailableZoneIds())) {
            // These are Java's own.
            if (!id.startsWith("SystemV/")) {
                zones.computeIfAbsent(names(id), names -> new ArrayList<>()).add(id);
            }
        }
        // Names that Java has not got, with those that the IANA database makes them links to.
        Map.of("EST", "America/Panama", "HST", "Pacific/Honolulu", "MST", "America/Phoenix",
                "ROC", "Asia/Taipei", "GMT+0", "GMT", "GMT-0", "GMT")
                .forEach((link, id) -> zones.get(names(id)).add(link));
        zones.values().forEach(Collections::sort);
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        zones.forEach((names, known) -> out.println(names + " = " + String.join(" ", known)));
        out.flush();
    }

    static String names(String id) {
        TimeZone zone = TimeZone.getTimeZone(id);
        StringBuilder names = new StringBuilder();
        for (int style : new int[] {TimeZone.SHORT, TimeZone.LONG}) {
            String count = style == TimeZone.SHORT ? "z" : "zzzz";
            for (boolean isSummer : new boolean[] {false, true}) {
                Instant example = example(id, isSummer);
                names.append(example == null
                        ? zone.getDisplayName(isSummer, style, Locale.US)
                        : format(count, id, example)).append('|');
            }
            names.append(format(count.replace('z', 'v'), id, FROM)).append('|');
        }
        return names.substring(0, names.length() - 1);
    }

    static String format(String pattern, String id, Instant instant) {
        ZonedDateTime time = ZonedDateTime.ofInstant(instant, ZoneId.of(id));
        return DateTimeFormatter.ofPattern(pattern, Locale.US).format(time);
    }

    static Instant example(String id, boolean isSummer) {
        ZoneRules rules = ZoneId.of(id).getRules();
        Instant instant = FROM;
        while (instant.isBefore(UNTIL)) {
            if (rules.isDaylightSavings(instant) == isSummer) {
                return instant;
            }
            ZoneOffsetTransition next = rules.nextTransition(instant);
            if (next == null) {
                return null;
            }
            instant = next.getInstant();
        }
        return null;
    }
}
