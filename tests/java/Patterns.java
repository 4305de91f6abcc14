// Prints instants by time patterns, for src/partition/pattern/java_tests.rs.
//
//     java tests/java/Patterns.java QUESTIONS
//
// The first line of the answer is Java's version and that of its time zones. Then comes a line for each
// of the file: its zone, its milliseconds since 1970 and its pattern, with tabs between them. An answer
// is the offset at that time in seconds, a tab, and `=` with what is printed, `!` with why nothing is, or
// `?` where Java does not know the zone.

import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.DateTimeException;
import java.time.Instant;
import java.time.ZoneId;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.time.temporal.ChronoUnit;
import java.time.zone.ZoneRulesProvider;
import java.util.Locale;

public class Patterns {
    // Every hour of a leap year, at the end of it.
    static final Instant FROM = Instant.parse("2027-12-31T00:59:59Z");
    static final int HOURS = 368 * 24;

    public static void main(String[] arguments) throws Exception {
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        out.print(System.getProperty("java.specification.version") + " ");
        out.print(ZoneRulesProvider.getVersions("Europe/Berlin").lastKey() + "\n");
        for (String line : Files.readAllLines(Path.of(arguments[0]), StandardCharsets.UTF_8)) {
            out.print(answer(line.split("\t", 3)) + "\n");
        }
        out.flush();
    }

    static String answer(String[] question) {
        ZoneId zone;
        try {
            zone = ZoneId.of(question[0]);
        } catch (DateTimeException unknown) {
            return "0\t?";
        }
        // Firehose has seconds.
        Instant instant = Instant.ofEpochMilli(Long.parseLong(question[1])).truncatedTo(ChronoUnit.SECONDS);
        ZonedDateTime time = ZonedDateTime.ofInstant(instant, zone);
        int offset = time.getOffset().getTotalSeconds();
        try {
            DateTimeFormatter formatter = DateTimeFormatter.ofPattern(question[2], Locale.US);
            String printed = formatter.format(time);
            if (question[2].contains("p")) {
                // What is wider than its padding fails, be it only at times.
                for (int hour = 0; hour < HOURS; hour++) {
                    formatter.format(ZonedDateTime.ofInstant(FROM.plus(hour, ChronoUnit.HOURS), zone));
                }
            }
            return offset + "\t=" + printed;
        } catch (RuntimeException refused) {
            return offset + "\t!" + refused.toString().replaceAll("\\s+", " ");
        }
    }
}
