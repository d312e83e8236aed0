// Java's HttpClient as a client: java Client TRUST_FILE < JOBS. A job is a line of KEY=VALUE between tabs, and so is what came of it.
import java.io.FileInputStream;
import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.zip.GZIPInputStream;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public class Client {
  static SSLContext trusting(String path) throws Exception {
    KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
    store.load(null, null);
    try (InputStream file = new FileInputStream(path)) {
      for (Certificate certificate : CertificateFactory.getInstance("X.509").generateCertificates(file))
        store.setCertificateEntry("root" + store.size(), certificate);
    }
    TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
    factory.init(store);
    SSLContext context = SSLContext.getInstance("TLS");
    context.init(null, factory.getTrustManagers(), null);
    return context;
  }

  /** A body that comes in pieces, with a pause before each. */
  static class Slow extends InputStream {
    private final int size, pieces;
    private int at = 0;

    Slow(int size, int pieces) {
      this.size = size;
      this.pieces = pieces;
    }

    @Override public int read() { throw new UnsupportedOperationException(); }

    @Override public int read(byte[] into, int offset, int length) {
      if (at == pieces) return -1;
      try {
        Thread.sleep(100);
      } catch (InterruptedException error) {
        return -1;
      }
      int count = Math.min(length, size / pieces);
      Arrays.fill(into, offset, offset + count, (byte) ('0' + at % 10));
      ++at;
      return count;
    }
  }

  static HttpRequest.BodyPublisher body(Map<String, String> job) throws Exception {
    if (job.containsKey("slow_upload")) {
      int size = Integer.parseInt(job.get("upload_size")), pieces = Integer.parseInt(job.get("pieces"));
      return HttpRequest.BodyPublishers.ofInputStream(() -> new Slow(size, pieces));
    }
    if (!job.containsKey("upload")) return HttpRequest.BodyPublishers.noBody();
    Path path = Path.of(job.get("upload"));
    if (!job.containsKey("chunked")) return HttpRequest.BodyPublishers.ofFile(path);
    return HttpRequest.BodyPublishers.ofInputStream(() -> {
      try {
        return new FileInputStream(path.toFile());
      } catch (Exception error) {
        throw new RuntimeException(error);
      }
    });
  }

  static void receive(Map<String, String> job, InputStream wire, Map<String, String> result) throws Exception {
    MessageDigest digest = MessageDigest.getInstance("SHA-256");
    long size = 0, last = 0, moments = 0, take = Long.parseLong(job.getOrDefault("take", "0"));
    boolean unpack = "gzip".equals(job.get("decode"));
    byte[] buffer = new byte[65536];
    try (InputStream stream = unpack ? new GZIPInputStream(wire) : wire) {
      for (int count; (count = stream.read(buffer)) > 0;) {
        size += count;
        digest.update(buffer, 0, count);
        long now = System.currentTimeMillis();
        if (now - last > 15) ++moments;
        last = now;
        if (take > 0 && size > take) return;
        if (job.containsKey("rate")) Thread.sleep(1000L * count / Long.parseLong(job.get("rate")));
      }
    } finally {
      if (take == 0) {
        result.put("bytes", "" + size);
        result.put("sha256", HexFormat.of().formatHex(digest.digest()));
      }
      if (job.containsKey("slow_answer")) result.put("slow", "" + (moments > 2));
    }
  }

  static Map<String, String> run(Map<String, String> job, SSLContext trust) {
    Map<String, String> result = new LinkedHashMap<>(Map.of("id", job.get("id")));
    try {
      HttpClient client = HttpClient.newBuilder().sslContext(trust).followRedirects(HttpClient.Redirect.NORMAL)
          .version("h2".equals(job.get("version")) ? HttpClient.Version.HTTP_2 : HttpClient.Version.HTTP_1_1).build();
      HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(job.get("url"))).method(job.get("method"), body(job));
      job.forEach((key, value) -> {
        if (key.startsWith("header:")) request.header(key.substring(7), value);
      });
      if (job.containsKey("expect")) request.expectContinue(true);
      HttpResponse<InputStream> response = client.send(request.build(), HttpResponse.BodyHandlers.ofInputStream());
      result.put("status", "" + response.statusCode());
      result.put("version", response.version().toString());
      result.put("headers", new TreeMap<>(response.headers().map()).toString());
      // JDK 17 may wait forever for the body of an answer that was no 100: when it came together with the head, as on a busy machine.
      if (response.statusCode() != 417) receive(job, response.body(), result);
    } catch (Exception error) {
      // The client's number in its process is in some of them.
      result.put("error", error.toString().replaceAll("\\s+", " ").replaceAll("@[0-9a-f]+|/[0-9.]+:[0-9]+|\\([0-9]+\\)", ""));
    }
    return result;
  }

  public static void main(String[] arguments) throws Exception {
    SSLContext trust = trusting(arguments[0]);
    var pool = Executors.newFixedThreadPool(8);
    List<Future<Map<String, String>>> results = new ArrayList<>();
    for (String line : new String(System.in.readAllBytes()).split("\n")) {
      Map<String, String> job = new LinkedHashMap<>();
      for (String field : line.split("\t")) job.put(field.substring(0, field.indexOf('=')), field.substring(field.indexOf('=') + 1));
      results.add(pool.submit(() -> run(job, trust)));
    }
    for (var result : results) {
      var fields = new ArrayList<String>();
      result.get().forEach((key, value) -> fields.add(key + "=" + value));
      System.out.println(String.join("\t", fields));
    }
    System.exit(0);
  }
}
